/* Compiled against the vendor's header: the types, codes and functions of the driver library of the
 * tests are those of the vendor. */
#define NVML_NO_UNVERSIONED_FUNC_DEFS
#include <nvml.h>
#include <stddef.h>

#include "fake_nvml.h"

#define SAME(ours, theirs) _Static_assert((long)(ours) == (long)(theirs), #theirs)
#define SAME_SIZE(ours, theirs) SAME(sizeof(ours), sizeof(theirs))
#define SAME_PLACE(ours, our_field, theirs, their_field)                                           \
    SAME(offsetof(ours, our_field), offsetof(theirs, their_field));                                \
    SAME_SIZE(((ours *)0)->our_field, ((theirs *)0)->their_field)

SAME_SIZE(memory_v1, nvmlMemory_t);
SAME_PLACE(memory_v1, total, nvmlMemory_t, total);
SAME_PLACE(memory_v1, free, nvmlMemory_t, free);
SAME_PLACE(memory_v1, used, nvmlMemory_t, used);

SAME_SIZE(memory_v2, nvmlMemory_v2_t);
SAME_PLACE(memory_v2, version, nvmlMemory_v2_t, version);
SAME_PLACE(memory_v2, total, nvmlMemory_v2_t, total);
SAME_PLACE(memory_v2, reserved, nvmlMemory_v2_t, reserved);
SAME_PLACE(memory_v2, free, nvmlMemory_v2_t, free);
SAME_PLACE(memory_v2, used, nvmlMemory_v2_t, used);
SAME(MEMORY_V2, nvmlMemory_v2);

SAME_SIZE(pci_info, nvmlPciInfo_t);
SAME_PLACE(pci_info, bus_id_legacy, nvmlPciInfo_t, busIdLegacy);
SAME_PLACE(pci_info, domain, nvmlPciInfo_t, domain);
SAME_PLACE(pci_info, bus, nvmlPciInfo_t, bus);
SAME_PLACE(pci_info, device, nvmlPciInfo_t, device);
SAME_PLACE(pci_info, pci_device_id, nvmlPciInfo_t, pciDeviceId);
SAME_PLACE(pci_info, pci_subsystem_id, nvmlPciInfo_t, pciSubSystemId);
SAME_PLACE(pci_info, bus_id, nvmlPciInfo_t, busId);

SAME_SIZE(utilization, nvmlUtilization_t);
SAME_PLACE(utilization, gpu, nvmlUtilization_t, gpu);
SAME_PLACE(utilization, memory, nvmlUtilization_t, memory);

SAME_SIZE(temperature_v1, nvmlTemperature_v1_t);
SAME_PLACE(temperature_v1, version, nvmlTemperature_v1_t, version);
SAME_PLACE(temperature_v1, sensor, nvmlTemperature_v1_t, sensorType);
SAME_PLACE(temperature_v1, temperature, nvmlTemperature_v1_t, temperature);
SAME(TEMPERATURE_V1, nvmlTemperature_v1);
SAME(0, NVML_TEMPERATURE_GPU);

SAME_SIZE(value, nvmlValue_t);
SAME_SIZE(field_value, nvmlFieldValue_t);
SAME_PLACE(field_value, field_id, nvmlFieldValue_t, fieldId);
SAME_PLACE(field_value, scope_id, nvmlFieldValue_t, scopeId);
SAME_PLACE(field_value, timestamp, nvmlFieldValue_t, timestamp);
SAME_PLACE(field_value, latency_us, nvmlFieldValue_t, latencyUsec);
SAME_PLACE(field_value, value_type, nvmlFieldValue_t, valueType);
SAME_PLACE(field_value, code, nvmlFieldValue_t, nvmlReturn);
SAME_PLACE(field_value, value, nvmlFieldValue_t, value);
SAME(TYPE_UNSIGNED_INT, NVML_VALUE_TYPE_UNSIGNED_INT);
SAME(TYPE_UNSIGNED_LONG_LONG, NVML_VALUE_TYPE_UNSIGNED_LONG_LONG);
SAME(FIELD_ENERGY, NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION);
SAME(FIELD_POWER_AVERAGE, NVML_FI_DEV_POWER_AVERAGE);
SAME(FIELD_POWER_INSTANT, NVML_FI_DEV_POWER_INSTANT);
SAME(FIELD_POWER_LIMIT, NVML_FI_DEV_POWER_CURRENT_LIMIT);

SAME_SIZE(process_sample, nvmlProcessUtilizationSample_t);
SAME_PLACE(process_sample, pid, nvmlProcessUtilizationSample_t, pid);
SAME_PLACE(process_sample, timestamp, nvmlProcessUtilizationSample_t, timeStamp);
SAME_PLACE(process_sample, sm, nvmlProcessUtilizationSample_t, smUtil);
SAME_PLACE(process_sample, memory, nvmlProcessUtilizationSample_t, memUtil);
SAME_PLACE(process_sample, encoder, nvmlProcessUtilizationSample_t, encUtil);
SAME_PLACE(process_sample, decoder, nvmlProcessUtilizationSample_t, decUtil);

SAME_SIZE(process_sample_v1, nvmlProcessUtilizationInfo_v1_t);
SAME_PLACE(process_sample_v1, timestamp, nvmlProcessUtilizationInfo_v1_t, timeStamp);
SAME_PLACE(process_sample_v1, pid, nvmlProcessUtilizationInfo_v1_t, pid);
SAME_PLACE(process_sample_v1, sm, nvmlProcessUtilizationInfo_v1_t, smUtil);
SAME_PLACE(process_sample_v1, memory, nvmlProcessUtilizationInfo_v1_t, memUtil);
SAME_PLACE(process_sample_v1, encoder, nvmlProcessUtilizationInfo_v1_t, encUtil);
SAME_PLACE(process_sample_v1, decoder, nvmlProcessUtilizationInfo_v1_t, decUtil);
SAME_PLACE(process_sample_v1, jpeg, nvmlProcessUtilizationInfo_v1_t, jpgUtil);
SAME_PLACE(process_sample_v1, ofa, nvmlProcessUtilizationInfo_v1_t, ofaUtil);

SAME_SIZE(processes_utilization_v1, nvmlProcessesUtilizationInfo_v1_t);
SAME_PLACE(processes_utilization_v1, version, nvmlProcessesUtilizationInfo_v1_t, version);
SAME_PLACE(processes_utilization_v1, count, nvmlProcessesUtilizationInfo_v1_t, processSamplesCount);
SAME_PLACE(processes_utilization_v1, last_seen, nvmlProcessesUtilizationInfo_v1_t,
           lastSeenTimeStamp);
SAME_PLACE(processes_utilization_v1, samples, nvmlProcessesUtilizationInfo_v1_t, procUtilArray);
SAME(PROCESSES_UTILIZATION_V1, nvmlProcessesUtilizationInfo_v1);

SAME_SIZE(process_info, nvmlProcessInfo_t);
SAME_SIZE(process_info, nvmlProcessInfo_v2_t);
SAME_PLACE(process_info, pid, nvmlProcessInfo_t, pid);
SAME_PLACE(process_info, used, nvmlProcessInfo_t, usedGpuMemory);
SAME_PLACE(process_info, gpu_instance, nvmlProcessInfo_t, gpuInstanceId);
SAME_PLACE(process_info, compute_instance, nvmlProcessInfo_t, computeInstanceId);

SAME_SIZE(device *, nvmlDevice_t);
SAME(VOLTA, NVML_DEVICE_ARCH_VOLTA);
SAME(AMPERE, NVML_DEVICE_ARCH_AMPERE);
SAME(HOPPER, NVML_DEVICE_ARCH_HOPPER);

SAME(OK, NVML_SUCCESS);
SAME(UNINITIALIZED, NVML_ERROR_UNINITIALIZED);
SAME(INVALID_ARGUMENT, NVML_ERROR_INVALID_ARGUMENT);
SAME(NOT_SUPPORTED, NVML_ERROR_NOT_SUPPORTED);
SAME(NOT_FOUND, NVML_ERROR_NOT_FOUND);
SAME(INSUFFICIENT_SIZE, NVML_ERROR_INSUFFICIENT_SIZE);
SAME(GPU_IS_LOST, NVML_ERROR_GPU_IS_LOST);
SAME(ARGUMENT_VERSION_MISMATCH, NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
