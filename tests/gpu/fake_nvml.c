/* A driver library for tests: the vendor's client loads it as libnvidia-ml.so.1 and asks it as
 * it asks the real one. What it answers stands in the file that FAKE_NVML names, one directive
 * a line (# begins a comment). Times are seconds since t0, FROM belongs to a period, TO does not;
 * without them it lasts for ever. I is the index of a GPU, * stands for all.
 *
 *   t0 MONOTONIC_NS                   zero of all times in the file
 *   driver VERSION
 *   gpu I UUID MIB NAME...            a GPU, in PCI order
 *   mig I UUID MIB GI CI              a compute instance; the GPU is then partitioned
 *   arch I CODE                       NVML_DEVICE_ARCH_*, 9 (Hopper) if not said
 *
 *   power I CURVE                     W
 *   util I CURVE, temp I CURVE        percent, degrees Celsius
 *   used I[/PLACE] CURVE              MiB in use, also of the compute instance at PLACE
 *   sensor I POWER_REFRESH_S POWER_WINDOW_S ENERGY_REFRESH_S [GAIN [PHASE_S]]
 *   usage I instant|average           what GetPowerUsage means; average from Ampere on
 *   counter I START_J [GAIN]          what the energy counter shows at 0; 1000000 if not said
 *   limit I W                         of power
 *
 *   proc I PID SM [FROM TO [MIB]]     a process on a GPU and its use of it in percent
 *   fault I|* FUNCTION|* CODE [FROM TO]   FUNCTION may be field:ID, one value of GetFieldValues
 *   lost I [FROM TO]                  GPU_IS_LOST, until it is opened again at TO or later
 *   hang I|* FUNCTION|* [FROM TO]     the call does not return before TO
 *   reset I T                         the energy counter restarts at 0
 *   stuck I FROM TO                   the energy counter keeps the value it has at FROM
 *   latency FUNCTION|* MICROSECONDS
 *
 * A CURVE is [const] Y, sine MEAN AMPLITUDE PERIOD, square LOW HIGH PERIOD DUTY, pwl T Y T Y ...
 * (lines between the points) or steps T Y T Y ... (Y from T on). That of power may be live W: W at
 * first, then what is written to FAKE_NVML_POWER. What has no curve is not supported by the GPU
 * (memory in use is 0).
 *
 * Readings of power are the mean over the window that ends at the last refresh, times GAIN; the
 * average is that over 1 s. The counter shows the integral at its own last refresh. Refreshes are
 * at PHASE_S + k * REFRESH_S.
 *
 * FAKE_NVML_CLOCK names a file of one u64, the time in ns; without it the monotonic clock runs.
 * FAKE_NVML_LOG names a folder in which every process writes its calls to a file of its own,
 * `FUNCTION I NS` a line, I being -1 where none is meant, NS the time.
 * FAKE_NVML_PROCS names a file, read at each call, of more processes: `I PID SM [MIB]` a line.
 * FAKE_NVML_POWER names a file that others append to, `I MONOTONIC_NS W` a line in the order of time:
 * the power of a GPU from then on.
 */
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "fake_nvml.h"

state S = {.log = -1, .driver = "570.00"};

/* Of a client that sees a clock of the tests, so that the answers do not depend on the day. */
static const int64_t VIRTUAL_WALL_NS = 1700000000000000000;

void die(const char *what, const char *line)
{
    fprintf(stderr, "fake NVML: %s: %s\n", what, line);
    abort();
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int64_t now_ns(void)
{
    int64_t ns = S.clock ? (int64_t)*S.clock : clock_ns(CLOCK_MONOTONIC);
    return ns - (int64_t)S.t0;
}

double now_s(void)
{
    return (double)now_ns() / 1e9;
}

static int64_t as_ns(double s)
{
    return (int64_t)llround(s * 1e9);
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
    gpu->power_refresh_ns = gpu->energy_refresh_ns = 100000000;
    gpu->power_window_s = 0.1;
    gpu->power_gain = gpu->counter_gain = 1;
    gpu->counter_start_j = 1e6;
    gpu->limit_w = 700;
    gpu->architecture = HOPPER;
    gpu->usage_is_average = NONE;
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
    part->architecture = gpu->architecture;
    strcpy(part->uuid, uuid);
    snprintf(part->name, sizeof part->name, "%.40s MIG", gpu->name);
}

static period *new_period(periods *list, const char *which, const char *line)
{
    if (list->count == MAX_PERIODS)
        die("too many of a kind", line);
    period *p = &list->items[list->count++];
    p->from_s = -INFINITY;
    p->to_s = INFINITY;
    p->index = strcmp(which, "*") ? atoi(which) : NONE;
    return p;
}

static int read_fault(const char *line, const char *which)
{
    period *p = new_period(&S.faults, which, line);
    int found = sscanf(line, "%*s %*s %63s %d %lf %lf", p->function, &p->number, &p->from_s,
                       &p->to_s);
    return found == 2 || found == 4;
}

static int read_hang(const char *line, const char *which)
{
    period *p = new_period(&S.hangs, which, line);
    int found = sscanf(line, "%*s %*s %63s %lf %lf", p->function, &p->from_s, &p->to_s);
    return found == 1 || found == 3;
}

static int read_process(const char *line, const char *which)
{
    period *p = new_period(&S.processes, which, line);
    int found = sscanf(line, "%*s %*s %d %lf %lf %lf %lf", &p->number, &p->sm, &p->from_s,
                       &p->to_s, &p->mib);
    return found == 2 || found >= 4;
}

static int read_times(periods *list, const char *line, const char *which)
{
    period *p = new_period(list, which, line);
    int found = sscanf(line, "%*s %*s %lf %lf", &p->from_s, &p->to_s);
    return list == &S.resets ? found == 1 : list == &S.stuck ? found == 2 : found <= 0 || found == 2;
}

static int read_sensor(const char *line, device *gpu)
{
    double power_refresh, energy_refresh, phase = 0;
    int found = sscanf(line, "%*s %*s %lf %lf %lf %lf %lf", &power_refresh, &gpu->power_window_s,
                       &energy_refresh, &gpu->power_gain, &phase);
    gpu->power_refresh_ns = as_ns(power_refresh);
    gpu->energy_refresh_ns = as_ns(energy_refresh);
    gpu->phase_ns = as_ns(phase);
    return found >= 3 && gpu->power_refresh_ns > 0 && gpu->energy_refresh_ns > 0;
}

static int read_usage(const char *text, device *gpu)
{
    char means[16] = "";
    sscanf(text, "%15s", means);
    gpu->usage_is_average = !strcmp(means, "average");
    return gpu->usage_is_average || !strcmp(means, "instant");
}

/* What a directive says of one GPU, or of its compute instance at PLACE; 0 if it is none. */
static int read_property(const char *line, const char *word, const char *which, const char *text)
{
    int place = NONE;
    sscanf(which, "%*d/%d", &place);
    device *d = gpu_at(atoi(which), line);
    if (place != NONE) {
        if (place < 0 || place >= d->part_count || strcmp(word, "used"))
            die("no such compute instance, or it has no such property", line);
        d = &d->parts[place];
    }
    curve *c = !strcmp(word, "power") ? &d->power
               : !strcmp(word, "util") ? &d->utilization
               : !strcmp(word, "temp") ? &d->temperature
               : !strcmp(word, "used") ? &d->used
                                       : NULL;
    if (c)
        *c = read_curve(text, line);
    return c                         ? 1
           : !strcmp(word, "arch")   ? sscanf(text, "%d", &d->architecture) == 1
           : !strcmp(word, "sensor") ? read_sensor(line, d)
           : !strcmp(word, "usage")  ? read_usage(text, d)
           : !strcmp(word, "limit")  ? sscanf(text, "%lf", &d->limit_w) == 1
           : !strcmp(word, "counter")
               ? sscanf(text, "%lf %lf", &d->counter_start_j, &d->counter_gain) >= 1
               : 0;
}

static int read_period(const char *line, const char *word, const char *which)
{
    return !strcmp(word, "fault")   ? read_fault(line, which)
           : !strcmp(word, "hang")  ? read_hang(line, which)
           : !strcmp(word, "proc")  ? read_process(line, which)
           : !strcmp(word, "lost")  ? read_times(&S.losses, line, which)
           : !strcmp(word, "reset") ? read_times(&S.resets, line, which)
           : !strcmp(word, "stuck") ? read_times(&S.stuck, line, which)
                                    : 0;
}

static int read_latency(const char *line)
{
    if (S.latency_count == MAX_PERIODS)
        die("too many of a kind", line);
    return sscanf(line, "%*s %63s %ld", S.latencies[S.latency_count].function,
                  &S.latencies[S.latency_count].us) == 2
           && ++S.latency_count;
}

static void read_directive(const char *line)
{
    char word[16] = "", which[16] = "";
    int rest = 0, good = 1;
    sscanf(line, "%15s %15s %n", word, which, &rest);
    if (!word[0] || word[0] == '#')
        return;
    if (!strcmp(word, "gpu"))
        read_gpu(line);
    else if (!strcmp(word, "mig"))
        read_part(line);
    else if (!strcmp(word, "driver"))
        good = sscanf(line, "driver %31s", S.driver) == 1;
    else if (!strcmp(word, "t0"))
        good = sscanf(line, "t0 %lu", &S.t0) == 1;
    else if (!strcmp(word, "latency"))
        good = read_latency(line);
    else
        good = read_period(line, word, which) || read_property(line, word, which, line + rest);
    if (!good)
        die("no such directive, or not so", line);
}

static void open_clock(void)
{
    const char *path = getenv("FAKE_NVML_CLOCK");
    if (!path)
        return;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    void *mapped = file < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED)
        die("cannot read the clock", path);
    close(file);
    S.clock = mapped;
}

static void load(void)
{
    char *line = NULL;
    size_t size = 0;
    const char *path = getenv("FAKE_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file)
        die("cannot read the file that FAKE_NVML names", path ? path : "none");
    while (getline(&line, &size, file) > 0)
        read_directive(line);
    free(line);
    fclose(file);
    open_clock();
    S.wall_offset_ns =
        S.clock ? VIRTUAL_WALL_NS : clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);
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
    int length = snprintf(text, sizeof text, "%s %d %lld\n", function, index,
                          (long long)now_ns() + (long long)S.t0);
    if (write(S.log, text, (size_t)length) != length)
        die("cannot write the log", folder);
}

static int holds(const period *p, const char *function, int index, double t)
{
    return (p->index == NONE || p->index == index) && t >= p->from_s && t < p->to_s
           && (!function || p->function[0] == '*' || !strcmp(p->function, function));
}

/* What a function fails with now, or OK. */
int failure(const char *function, int index)
{
    double t = now_s();
    for (int i = 0; i < S.faults.count; i++)
        if (holds(&S.faults.items[i], function, index, t))
            return S.faults.items[i].number;
    return OK;
}

/* Wait as a call into a driver that does not answer: only SIGKILL ends it. */
static void hang(const char *function, int index)
{
    const struct timespec pause = {.tv_nsec = 2000000};
    sigset_t all, old;
    sigfillset(&all);
    for (int i = 0; i < S.hangs.count; i++) {
        if (!holds(&S.hangs.items[i], function, index, now_s()))
            continue;
        sigprocmask(SIG_BLOCK, &all, &old);
        while (now_s() < S.hangs.items[i].to_s)
            nanosleep(&pause, NULL);
        sigprocmask(SIG_SETMASK, &old, NULL);
    }
}

static int is_lost(const device *gpu)
{
    double t = now_s(), opened = (double)gpu->opened_ns / 1e9;
    for (int i = 0; i < S.losses.count; i++) {
        const period *p = &S.losses.items[i];
        if (holds(p, NULL, gpu->index, t)
            || (p->index == gpu->index && t >= p->to_s && opened < p->to_s))
            return 1;
    }
    return 0;
}

/* Log a call, spend its latency and return what it fails with, or OK. */
int enter(const char *function, device *d)
{
    if (!S.loaded)
        load();
    device *gpu = d && d->parent ? d->parent : d;
    int index = gpu ? gpu->index : NONE;
    write_log(function, index);
    for (int i = 0; i < S.latency_count; i++)
        if (!strcmp(S.latencies[i].function, function) || S.latencies[i].function[0] == '*')
            usleep((useconds_t)S.latencies[i].us);
    hang(function, index);
    int code = failure(function, index);
    return code == OK && gpu && is_lost(gpu) ? GPU_IS_LOST : code;
}

/* Return the handle of a device that is opened, which ends the loss of its GPU. */
static int opened(const char *function, device *d, device **handle)
{
    int64_t old = 0;
    device *gpu = d && d->parent ? d->parent : d;
    if (gpu) {
        old = gpu->opened_ns;
        gpu->opened_ns = now_ns();
    }
    int code = enter(function, d);
    if (gpu && code != OK)
        gpu->opened_ns = old;
    if (code != OK || !S.open)
        return code != OK ? code : UNINITIALIZED;
    *handle = d;
    return OK;
}

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
    int code = enter(__func__, NULL);
    S.open += code == OK;
    return code;
}

int nvmlInit_v2(void)
{
    int code = enter(__func__, NULL);
    S.open += code == OK;
    return code;
}

int nvmlShutdown(void)
{
    ENTER(NULL);
    S.open--;
    return OK;
}

const char *nvmlErrorString(int code)
{
    static const char *texts[] = {
        "Success",
        "Uninitialized",
        "Invalid Argument",
        "Not Supported",
        "Insufficient Permissions",
        "Already Initialized",
        "Not Found",
        "Insufficient Size",
        "Insufficient External Power",
        "Driver Not Loaded",
        "Timeout",
        "Interrupt Request Issue",
        "NVML Shared Library Not Found",
        "Function Not Found",
        "Corrupted infoROM",
        "GPU is lost",
        "GPU requires reset",
        "GPU access blocked by the operating system",
        "Driver/library version mismatch",
        "In use by another client",
        "Insufficient Memory",
        "No data",
        "ECC not supported by the vGPU",
        "Insufficient Resources",
        "Frequency not supported",
        "Argument version mismatch",
    };
    int known = code >= 0 && code < (int)(sizeof texts / sizeof *texts);
    return known ? texts[code] : "Unknown Error";
}

int nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
    ENTER(NULL);
    return copy(version, length, S.driver);
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
    ENTER(NULL);
    *count = (unsigned int)S.gpu_count;
    return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, device **handle)
{
    if (S.loaded && index < (unsigned int)S.gpu_count)
        return opened(__func__, &S.gpus[index], handle);
    ENTER(NULL);
    return INVALID_ARGUMENT;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, device **handle)
{
    for (int i = 0; i < S.gpu_count; i++) {
        device *gpu = &S.gpus[i];
        for (int p = -1; p < gpu->part_count; p++)
            if (!strcmp((p < 0 ? gpu : &gpu->parts[p])->uuid, uuid))
                return opened(__func__, p < 0 ? gpu : &gpu->parts[p], handle);
    }
    ENTER(NULL);
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

int nvmlDeviceGetArchitecture(device *d, unsigned int *architecture)
{
    ENTER_DEVICE(d);
    *architecture = (unsigned int)d->architecture;
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
