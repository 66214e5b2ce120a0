/* A driver library for tests: the vendor's client loads it as libnvidia-ml.so.1 and asks it as
 * it asks the real one. What it answers stands in the file that FAKE_NVML names, one directive
 * a line (# begins a comment):
 *
 *   driver VERSION
 *   gpu INDEX UUID MIB NAME...        a GPU, in PCI order
 *   used INDEX MIB                    memory in use
 *   mig INDEX UUID MIB GI CI          a compute instance; the GPU is then partitioned
 *   fault INDEX|* FUNCTION|* CODE [FROM_S TO_S]
 *   latency FUNCTION|* MICROSECONDS
 *   t0 MONOTONIC_NS                   zero of all times in the file
 *
 * FAKE_NVML_CLOCK names a file of one u64, the time in ns; without it the monotonic clock runs.
 * FAKE_NVML_LOG names a folder in which every process writes its calls to a file of its own,
 * `FUNCTION INDEX` a line, INDEX -1 where none is meant.
 *
 * Types and codes are those of the vendor's nvml.h; the asserts below hold their sizes.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum {
    OK = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    ARGUMENT_VERSION_MISMATCH = 25,
};
enum { MAX_GPUS = 16, MAX_PARTS = 8, MAX_FAULTS = 64, NONE = -1 };

typedef struct {
    unsigned long long total, free, used;
} memory_v1;
typedef struct {
    unsigned int version;
    unsigned long long total, reserved, free, used;
} memory_v2;
typedef struct {
    char bus_id_legacy[16];
    unsigned int domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} pci_info;
_Static_assert(sizeof(memory_v1) == 24, "nvmlMemory_t");
_Static_assert(sizeof(memory_v2) == 40, "nvmlMemory_v2_t");
_Static_assert(sizeof(pci_info) == 68, "nvmlPciInfo_t");

/* A GPU, or a compute instance of one; its address is the handle. */
typedef struct device {
    int index;
    char uuid[96], name[96];
    double total_mib, used_mib;
    struct device *parent;
    int gpu_instance, compute_instance;
    int part_count;
    struct device *parts;
} device;

typedef struct {
    int index, code;
    char function[64];
    double from_s, to_s;
} fault;

static struct {
    int loaded, open, gpu_count, fault_count, latency_count, log;
    char driver[32];
    uint64_t t0;
    volatile uint64_t *clock;
    device gpus[MAX_GPUS];
    device parts[MAX_GPUS][MAX_PARTS];
    fault faults[MAX_FAULTS];
    struct { char function[64]; long us; } latencies[MAX_FAULTS];
} S = {.log = -1, .driver = "570.00"};

static void die(const char *what, const char *line)
{
    fprintf(stderr, "fake NVML: %s: %s\n", what, line);
    abort();
}

static double now_s(void)
{
    struct timespec t;
    uint64_t ns;
    if (S.clock) {
        ns = *S.clock;
    } else {
        clock_gettime(CLOCK_MONOTONIC, &t);
        ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    }
    return ((double)ns - (double)S.t0) / 1e9;
}

static device *gpu_at(int index, const char *line)
{
    if (index < 0 || index >= S.gpu_count)
        die("no such GPU", line);
    return &S.gpus[index];
}

static void read_gpu(const char *line)
{
    device *gpu = &S.gpus[S.gpu_count];
    if (S.gpu_count == MAX_GPUS
        || sscanf(line, "gpu %d %95s %lf %95[^\n]", &gpu->index, gpu->uuid, &gpu->total_mib,
                  gpu->name) != 4
        || gpu->index != S.gpu_count)
        die("not a GPU in order", line);
    gpu->parts = S.parts[S.gpu_count++];
}

static void read_part(const char *line)
{
    int index, gi, ci;
    char uuid[96];
    double mib;
    if (sscanf(line, "mig %d %95s %lf %d %d", &index, uuid, &mib, &gi, &ci) != 5)
        die("not a compute instance", line);
    device *gpu = gpu_at(index, line), *part = &gpu->parts[gpu->part_count];
    if (gpu->part_count++ == MAX_PARTS)
        die("too many compute instances", line);
    part->index = gpu->part_count - 1;
    part->total_mib = mib;
    part->parent = gpu;
    part->gpu_instance = gi;
    part->compute_instance = ci;
    strcpy(part->uuid, uuid);
    snprintf(part->name, sizeof part->name, "%.40s MIG", gpu->name);
}

static void read_fault(const char *line)
{
    fault *f = &S.faults[S.fault_count];
    char which[8];
    f->from_s = -1e18;
    f->to_s = 1e18;
    int found = sscanf(line, "fault %7s %63s %d %lf %lf", which, f->function, &f->code, &f->from_s,
                       &f->to_s);
    if ((found != 3 && found != 5) || S.fault_count++ == MAX_FAULTS)
        die("not a fault", line);
    f->index = strcmp(which, "*") ? atoi(which) : NONE;
}

static void read_directive(const char *line)
{
    int index;
    double mib;
    char word[16] = "";
    sscanf(line, "%15s", word);
    if (!word[0] || word[0] == '#')
        return;
    if (!strcmp(word, "gpu"))
        read_gpu(line);
    else if (!strcmp(word, "mig"))
        read_part(line);
    else if (!strcmp(word, "fault"))
        read_fault(line);
    else if (sscanf(line, "used %d %lf", &index, &mib) == 2)
        gpu_at(index, line)->used_mib = mib;
    else if (sscanf(line, "driver %31s", S.driver) == 1)
        ;
    else if (sscanf(line, "t0 %lu", &S.t0) == 1)
        ;
    else if (S.latency_count < MAX_FAULTS
             && sscanf(line, "latency %63s %ld", S.latencies[S.latency_count].function,
                       &S.latencies[S.latency_count].us) == 2)
        S.latency_count++;
    else
        die("unknown directive", line);
}

static void open_clock(void)
{
    const char *path = getenv("FAKE_NVML_CLOCK");
    if (!path)
        return;
    int file = open(path, O_RDONLY);
    void *mapped = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED)
        die("cannot read the clock", path);
    S.clock = mapped;
}

static void load(void)
{
    char line[512];
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file)
        die("cannot read the file that FAKE_NVML names", path ? path : "none");
    while (fgets(line, sizeof line, file))
        read_directive(line);
    fclose(file);
    open_clock();
    S.loaded = 1;
}

static void write_log(const char *function, int index)
{
    static pid_t writer;
    char text[256];
    const char *folder = getenv("FAKE_NVML_LOG");
    if (!folder)
        return;
    if (writer != getpid()) { /* a fork writes to a file of its own */
        writer = getpid();
        snprintf(text, sizeof text, "%s/%d", folder, (int)writer);
        S.log = open(text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    }
    int length = snprintf(text, sizeof text, "%s %d\n", function, index);
    if (write(S.log, text, (size_t)length) != length)
        die("cannot write the log", folder);
}

/* Log a call, spend its latency and return what it fails with, or OK. */
static int enter(const char *function, int index)
{
    if (!S.loaded)
        load();
    write_log(function, index);
    for (int i = 0; i < S.latency_count; i++)
        if (!strcmp(S.latencies[i].function, function) || S.latencies[i].function[0] == '*')
            usleep((useconds_t)S.latencies[i].us);
    for (int i = 0; i < S.fault_count; i++) {
        const fault *f = &S.faults[i];
        double t = now_s();
        if ((f->index == NONE || f->index == index) && t >= f->from_s && t < f->to_s
            && (!strcmp(f->function, function) || f->function[0] == '*'))
            return f->code;
    }
    return OK;
}

#define ENTER(index)                                                                               \
    do {                                                                                           \
        int code_ = enter(__func__, index);                                                        \
        if (code_ != OK)                                                                           \
            return code_;                                                                          \
        if (!S.open)                                                                               \
            return UNINITIALIZED;                                                                  \
    } while (0)
#define ENTER_DEVICE(d)                                                                            \
    do {                                                                                           \
        if (!(d))                                                                                  \
            return INVALID_ARGUMENT;                                                               \
        ENTER((d)->parent ? (d)->parent->index : (d)->index);                                      \
    } while (0)

static int copy(char *to, unsigned int length, const char *from)
{
    if (strlen(from) + 1 > length)
        return INSUFFICIENT_SIZE;
    strcpy(to, from);
    return OK;
}

int nvmlInitWithFlags(unsigned int flags)
{
    (void)flags;
    int code = enter(__func__, NONE);
    S.open += code == OK;
    return code;
}

int nvmlInit_v2(void)
{
    int code = enter(__func__, NONE);
    S.open += code == OK;
    return code;
}

int nvmlShutdown(void)
{
    ENTER(NONE);
    S.open--;
    return OK;
}

const char *nvmlErrorString(int code)
{
    static const char *names[] = {"Success", "Uninitialized", "Invalid Argument", "Not Supported"};
    return code >= 0 && code < 4 ? names[code] : "Fake Error";
}

int nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
    ENTER(NONE);
    return copy(version, length, S.driver);
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
    ENTER(NONE);
    *count = (unsigned int)S.gpu_count;
    return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, device **handle)
{
    ENTER((int)index);
    if (index >= (unsigned int)S.gpu_count)
        return INVALID_ARGUMENT;
    *handle = &S.gpus[index];
    return OK;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, device **handle)
{
    ENTER(NONE);
    for (int i = 0; i < S.gpu_count; i++) {
        device *gpu = &S.gpus[i];
        for (int p = -1; p < gpu->part_count; p++)
            if (!strcmp((p < 0 ? gpu : &gpu->parts[p])->uuid, uuid)) {
                *handle = p < 0 ? gpu : &gpu->parts[p];
                return OK;
            }
    }
    return NOT_FOUND;
}

int nvmlDeviceGetIndex(device *d, unsigned int *index)
{
    ENTER_DEVICE(d);
    *index = (unsigned int)d->index;
    return OK;
}

int nvmlDeviceGetName(device *d, char *name, unsigned int length)
{
    ENTER_DEVICE(d);
    return copy(name, length, d->name);
}

int nvmlDeviceGetUUID(device *d, char *uuid, unsigned int length)
{
    ENTER_DEVICE(d);
    return copy(uuid, length, d->uuid);
}

static unsigned long long bytes(double mib)
{
    return (unsigned long long)(mib * 1048576.0);
}

int nvmlDeviceGetMemoryInfo(device *d, memory_v1 *memory)
{
    ENTER_DEVICE(d);
    memory->total = bytes(d->total_mib);
    memory->used = bytes(d->used_mib);
    memory->free = memory->total - memory->used;
    return OK;
}

int nvmlDeviceGetMemoryInfo_v2(device *d, memory_v2 *memory)
{
    ENTER_DEVICE(d);
    if (memory->version != (sizeof *memory | 2u << 24))
        return ARGUMENT_VERSION_MISMATCH;
    memory->total = bytes(d->total_mib);
    memory->reserved = 0;
    memory->used = bytes(d->used_mib);
    memory->free = memory->total - memory->used;
    return OK;
}

int nvmlDeviceGetPciInfo_v3(device *d, pci_info *pci)
{
    ENTER_DEVICE(d);
    memset(pci, 0, sizeof *pci);
    pci->bus = (unsigned int)d->index + 1;
    snprintf(pci->bus_id, sizeof pci->bus_id, "00000000:%02X:00.0", pci->bus);
    snprintf(pci->bus_id_legacy, sizeof pci->bus_id_legacy, "0000:%02X:00.0", pci->bus);
    return OK;
}

int nvmlDeviceGetMigMode(device *d, unsigned int *current, unsigned int *pending)
{
    ENTER_DEVICE(d);
    *current = *pending = d->part_count > 0;
    return OK;
}

int nvmlDeviceGetMaxMigDeviceCount(device *d, unsigned int *count)
{
    ENTER_DEVICE(d);
    *count = MAX_PARTS;
    return OK;
}

int nvmlDeviceGetMigDeviceHandleByIndex(device *d, unsigned int index, device **handle)
{
    ENTER_DEVICE(d);
    if (index >= (unsigned int)d->part_count)
        return NOT_FOUND;
    *handle = &d->parts[index];
    return OK;
}

int nvmlDeviceIsMigDeviceHandle(device *d, unsigned int *is_mig)
{
    ENTER_DEVICE(d);
    *is_mig = d->parent != NULL;
    return OK;
}

int nvmlDeviceGetDeviceHandleFromMigDeviceHandle(device *d, device **handle)
{
    ENTER_DEVICE(d);
    if (!d->parent)
        return INVALID_ARGUMENT;
    *handle = d->parent;
    return OK;
}

int nvmlDeviceGetGpuInstanceId(device *d, unsigned int *id)
{
    ENTER_DEVICE(d);
    if (!d->parent)
        return NOT_SUPPORTED;
    *id = (unsigned int)d->gpu_instance;
    return OK;
}

int nvmlDeviceGetComputeInstanceId(device *d, unsigned int *id)
{
    ENTER_DEVICE(d);
    if (!d->parent)
        return NOT_SUPPORTED;
    *id = (unsigned int)d->compute_instance;
    return OK;
}
