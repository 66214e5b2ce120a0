/* What the parts of the driver library of the tests share. Types and codes are those of the
 * vendor's nvml.h (test_fake_nvml.py compares them with it). */
#ifndef FAKE_NVML_H
#define FAKE_NVML_H
#include <stdint.h>

enum {
    OK = 0,
    UNINITIALIZED = 1,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    GPU_IS_LOST = 15,
    ARGUMENT_VERSION_MISMATCH = 25,
};
enum { VOLTA = 5, AMPERE = 7, HOPPER = 9 };
enum {
    FIELD_ENERGY = 83,
    FIELD_POWER_AVERAGE = 185,
    FIELD_POWER_INSTANT = 186,
    FIELD_POWER_LIMIT = 190,
};
enum { TYPE_UNSIGNED_INT = 1, TYPE_UNSIGNED_LONG_LONG = 3 };
enum {
    MEMORY_V2 = 0x02000028,
    TEMPERATURE_V1 = 0x0100000C,
    PROCESSES_UTILIZATION_V1 = 0x01000018,
};
#define NO_INSTANCE 0xFFFFFFFFu

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
typedef struct {
    unsigned int gpu, memory;
} utilization;
typedef struct {
    unsigned int version, sensor;
    int temperature;
} temperature_v1;
typedef union {
    double d;
    unsigned int ui;
    unsigned long long ull;
} value;
typedef struct {
    unsigned int field_id, scope_id;
    long long timestamp, latency_us;
    unsigned int value_type;
    int code;
    value value;
} field_value;
typedef struct {
    unsigned int pid;
    unsigned long long timestamp;
    unsigned int sm, memory, encoder, decoder;
} process_sample;
typedef struct {
    unsigned long long timestamp;
    unsigned int pid, sm, memory, encoder, decoder, jpeg, ofa;
} process_sample_v1;
typedef struct {
    unsigned int version, count;
    unsigned long long last_seen;
    process_sample_v1 *samples;
} processes_utilization_v1;
typedef struct {
    unsigned int pid;
    unsigned long long used;
    unsigned int gpu_instance, compute_instance;
} process_info;

/* A quantity over time, in seconds since t0. */
typedef struct {
    enum { ABSENT, CONSTANT, SINE, SQUARE, LINEAR, STEPS } kind;
    double a, b, c, d;      /* what the directive says of SINE, SQUARE, CONSTANT */
    int count;              /* of points, for LINEAR and STEPS */
    double *t, *y, *before; /* the points, and the integral from the first to each */
    int is_live;
    long offset; /* up to where the file of live power was read */
} curve;

/* A GPU, or a compute instance of one; its address is the handle. */
typedef struct device {
    int index;
    char uuid[96], name[96];
    double total_mib;
    curve used, power, utilization, temperature;
    int64_t power_refresh_ns, energy_refresh_ns, phase_ns, opened_ns;
    double power_window_s, power_gain, counter_start_j, counter_gain, limit_w;
    int architecture, usage_is_average;
    struct device *parent;
    int gpu_instance, compute_instance;
    int part_count;
    struct device *parts;
} device;

typedef struct {
    int index; /* NONE: every GPU, and calls that mean none */
    double from_s, to_s;
    int number; /* code of a fault, pid of a process */
    double sm, mib;
    char function[64];
} period;

enum { MAX_GPUS = 16, MAX_PARTS = 8, MAX_PERIODS = 128, NONE = -1 };
typedef struct {
    int count;
    period items[MAX_PERIODS];
} periods;

typedef struct {
    int loaded, open, gpu_count, latency_count, log;
    char driver[32];
    uint64_t t0;
    int64_t wall_offset_ns;
    volatile uint64_t *clock;
    device gpus[MAX_GPUS];
    device parts[MAX_GPUS][MAX_PARTS];
    periods faults, hangs, losses, resets, stuck, processes;
    struct {
        char function[64];
        long us;
    } latencies[MAX_PERIODS];
} state;
extern state S;

_Noreturn void die(const char *what, const char *line);
int64_t now_ns(void); /* since t0 */
double now_s(void);
int failure(const char *function, int index);
int enter(const char *function, device *d);

curve read_curve(const char *text, const char *line);
double curve_at(const curve *c, double t);
double curve_integral(const curve *c, double t); /* from any fixed time to t */

/* Enter a call; where it fails, return its code. */
#define ENTER(d)                                                                                   \
    do {                                                                                           \
        int code_ = enter(__func__, d);                                                            \
        if (code_ != OK)                                                                           \
            return code_;                                                                          \
        if (!S.open)                                                                               \
            return UNINITIALIZED;                                                                  \
    } while (0)
#define ENTER_DEVICE(d)                                                                            \
    do {                                                                                           \
        if (!(d))                                                                                  \
            return INVALID_ARGUMENT;                                                               \
        ENTER(d);                                                                                  \
    } while (0)
#endif
