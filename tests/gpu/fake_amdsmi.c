/* AMD's library for tests: the vendor's Python client loads it as libamd_smi.so and asks it as it
 * asks the real one. What it answers stands in the file that FAKE_AMDSMI names, one directive a
 * line (# begins a comment). Times are seconds since t0, FROM belongs to a period, TO does not;
 * without them it lasts for ever. I is the place of a GPU in the library's list, * stands for all.
 *
 *   t0 MONOTONIC_NS                   zero of all times in the file
 *   driver VERSION
 *   gpu I UNIQUE_ID MIB NAME...       a GPU; its id in hexadecimal digits, 0 for none
 *   hip I NUMBER                      how HIP counts it; as the library lists it if not said
 *   chip I DEVICE_ID                  PCI device id in hexadecimal, 74a1 (MI300X) if not said
 *   power I W | power I pwl T W T W ...   constant, or lines between points
 *   used I MIB, activity I PERCENT, edge I CELSIUS, hotspot I CELSIUS
 *   counter I RESOLUTION_UJ [START]   energy counter: what one is worth, and what it shows at 0
 *   refresh I S                       power and counter show the last multiple of S, 0.001 if not said
 *   average I                         power is an average over time, as of cards before MI300
 *   secondary I                       the second die of a card, whose power and counter are 0
 *   na I FIELD [FROM TO]              power, activity or hip: the call is answered with the mark of
 *                                     what is not available
 *   fault I|* FUNCTION|* CODE [FROM TO]
 *   reset I T                         the energy counter restarts at 0
 *   stuck I FROM TO                   the energy counter keeps the value it has at FROM
 *
 * FAKE_AMDSMI_CLOCK names a file of one u64, the time in ns; without it the monotonic clock runs.
 * FAKE_AMDSMI_LOG names a folder in which every process writes its calls to a file of its own,
 * `FUNCTION I` a line, I being -1 where none is meant.
 *
 * Types and codes are those of amdsmi.h; the asserts below hold their sizes. What the client binds
 * beyond these functions is made when this is built, and answers that it is not supported.
 */
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { OK = 0, INVALID = 1, NOT_SUPPORTED = 2, NOT_INITIALIZED = 32 };
enum { NONE = -1, MAX_GPUS = 16, MAX_POINTS = 64, MAX_RULES = 64, GPUS = 2, VRAM = 0 };
enum { EDGE = 0, HOTSPOT = 1, CURRENT = 0 };
#define NOT_AVAILABLE_16 0xFFFFu
#define NOT_AVAILABLE_32 0xFFFFFFFFu

typedef struct {
    char market_name[256];
    uint32_t vendor_id;
    char vendor_name[256];
    uint32_t subvendor_id;
    uint64_t device_id;
    uint32_t rev_id;
    char asic_serial[256];
    uint32_t oam_id, num_of_compute_units;
    uint64_t target_graphics_version;
    uint32_t subsystem_id, reserved[21];
} asic_info;
typedef struct {
    uint64_t socket_power;
    uint32_t current_socket_power, average_socket_power;
    uint64_t gfx_voltage, soc_voltage, mem_voltage;
    uint32_t power_limit;
    uint64_t reserved[18];
} power_info;
typedef struct {
    uint32_t gfx_activity, umc_activity, mm_activity, reserved[13];
} engine_usage;
typedef struct {
    char driver_version[256], driver_date[256], driver_name[256];
} driver_info;
typedef struct {
    uint32_t drm_render, drm_card, hsa_id, hip_id;
    char hip_uuid[256];
} enumeration_info;
_Static_assert(sizeof(asic_info) == 896, "amdsmi_asic_info_t");
_Static_assert(sizeof(power_info) == 192, "amdsmi_power_info_t");
_Static_assert(sizeof(engine_usage) == 64, "amdsmi_engine_usage_t");
_Static_assert(sizeof(driver_info) == 768, "amdsmi_driver_info_t");
_Static_assert(sizeof(enumeration_info) == 272, "amdsmi_enumeration_info_t");

/* A GPU; its address is the handle, of its socket too. */
typedef struct {
    int index, hip, points, is_average, is_secondary;
    uint64_t unique_id, device_id, start;
    char name[96];
    double total_mib, used_mib, activity, edge, hotspot, refresh_s, t[MAX_POINTS], w[MAX_POINTS];
    float resolution_uj;
} gpu;

/* Something that is so for a while. */
typedef struct {
    int index, code;
    char what[64];
    double from_s, to_s;
} rule;

static struct {
    int loaded, open, gpu_count, fault_count, na_count, reset_count, stuck_count, log;
    char driver[64];
    uint64_t t0;
    volatile uint64_t *clock;
    gpu gpus[MAX_GPUS];
    rule faults[MAX_RULES], na[MAX_RULES], resets[MAX_RULES], stuck[MAX_RULES];
} S = {.log = -1, .driver = "6.12.12"};

static void die(const char *what, const char *line)
{
    fprintf(stderr, "fake AMD SMI: %s: %s\n", what, line);
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

static gpu *gpu_at(int index, const char *line)
{
    if (index < 0 || index >= S.gpu_count)
        die("no such GPU", line);
    return &S.gpus[index];
}

static void read_gpu(const char *line)
{
    gpu *g = &S.gpus[S.gpu_count];
    if (S.gpu_count == MAX_GPUS
        || sscanf(line, "gpu %d %lx %lf %95[^\n]", &g->index, &g->unique_id, &g->total_mib,
                  g->name) != 4
        || g->index != S.gpu_count)
        die("not a GPU in order", line);
    g->hip = S.gpu_count++;
    g->device_id = 0x74a1;
    g->refresh_s = 0.001;
    g->resolution_uj = 15.3f;
    g->points = 1;
    g->edge = g->hotspot = NAN;
}

static void read_power(const char *line)
{
    int index, at, step;
    double first;
    if (sscanf(line, "power %d %lf", &index, &first) == 2) {
        gpu_at(index, line)->w[0] = first;
        return;
    }
    if (sscanf(line, "power %d pwl%n", &index, &at) != 1)
        die("not a power", line);
    gpu *g = gpu_at(index, line);
    for (g->points = 0; g->points < MAX_POINTS; g->points++, at += step)
        if (sscanf(line + at, "%lf %lf%n", &g->t[g->points], &g->w[g->points], &step) != 2)
            break;
}

static void read_rule(rule *rules, int *count, const char *line)
{
    rule *r = &rules[*count];
    char which[8], word[16];
    r->from_s = -1e18;
    r->to_s = 1e18;
    if ((*count)++ == MAX_RULES)
        die("too many rules", line);
    sscanf(line, "%15s", word);
    int found = 0;
    if (!strcmp(word, "fault"))
        found = sscanf(line, "fault %7s %63s %d %lf %lf", which, r->what, &r->code, &r->from_s,
                       &r->to_s) - 3;
    else if (!strcmp(word, "na"))
        found = sscanf(line, "na %7s %63s %lf %lf", which, r->what, &r->from_s, &r->to_s) - 2;
    else if (!strcmp(word, "reset"))
        found = sscanf(line, "reset %7s %lf", which, &r->from_s) - 2;
    else
        found = sscanf(line, "stuck %7s %lf %lf", which, &r->from_s, &r->to_s) - 3;
    if (found != 0 && found != 2)
        die("not a rule", line);
    r->index = strcmp(which, "*") ? atoi(which) : NONE;
}

/* Return where a number about a GPU belongs, or nowhere. */
static double *number_of(gpu *g, const char *word)
{
    return !strcmp(word, "used")       ? &g->used_mib
           : !strcmp(word, "activity") ? &g->activity
           : !strcmp(word, "edge")     ? &g->edge
           : !strcmp(word, "hotspot")  ? &g->hotspot
           : !strcmp(word, "refresh")  ? &g->refresh_s
                                       : NULL;
}

static int read_about_gpu(const char *word, const char *line)
{
    int index, number;
    double value;
    if (sscanf(line, "%*s %d", &index) != 1)
        return 0;
    gpu none, *g = index >= 0 && index < S.gpu_count ? &S.gpus[index] : &none;
    double *to = number_of(g, word);
    int found = 1;
    if (to && sscanf(line, "%*s %*d %lf", &value) == 1)
        *to = value;
    else if (!strcmp(word, "hip") && sscanf(line, "%*s %*d %d", &number) == 1)
        g->hip = number;
    else if (!strcmp(word, "chip"))
        found = sscanf(line, "%*s %*d %lx", &g->device_id);
    else if (!strcmp(word, "counter"))
        found = sscanf(line, "%*s %*d %f %lu", &g->resolution_uj, &g->start);
    else if (!strcmp(word, "average"))
        g->is_average = 1;
    else if (!strcmp(word, "secondary"))
        g->is_secondary = 1;
    else
        return 0;
    if (g == &none)
        die("no such GPU", line);
    return found > 0;
}

static void read_directive(const char *line)
{
    char word[16] = "";
    sscanf(line, "%15s", word);
    if (!word[0] || word[0] == '#')
        return;
    if (!strcmp(word, "gpu"))
        read_gpu(line);
    else if (!strcmp(word, "power"))
        read_power(line);
    else if (!strcmp(word, "fault"))
        read_rule(S.faults, &S.fault_count, line);
    else if (!strcmp(word, "na"))
        read_rule(S.na, &S.na_count, line);
    else if (!strcmp(word, "reset"))
        read_rule(S.resets, &S.reset_count, line);
    else if (!strcmp(word, "stuck"))
        read_rule(S.stuck, &S.stuck_count, line);
    else if (sscanf(line, "driver %63s", S.driver) != 1 && sscanf(line, "t0 %lu", &S.t0) != 1
             && !read_about_gpu(word, line))
        die("unknown directive", line);
}

static void load(void)
{
    char line[4096];
    const char *path = getenv("FAKE_AMDSMI"), *clock = getenv("FAKE_AMDSMI_CLOCK");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file)
        die("cannot read the file that FAKE_AMDSMI names", path ? path : "none");
    while (fgets(line, sizeof line, file))
        read_directive(line);
    fclose(file);
    if (clock) {
        int opened = open(clock, O_RDONLY);
        void *mapped = opened < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, opened, 0);
        if (mapped == MAP_FAILED)
            die("cannot read the clock", clock);
        S.clock = mapped;
    }
    S.loaded = 1;
}

static void write_log(const char *function, int index)
{
    static pid_t writer;
    char text[256];
    const char *folder = getenv("FAKE_AMDSMI_LOG");
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

/* Return the rule about a GPU that holds now, or none. */
static const rule *holding(const rule *rules, int count, int index, const char *what)
{
    double t = now_s();
    for (int i = 0; i < count; i++)
        if ((rules[i].index == NONE || rules[i].index == index) && t >= rules[i].from_s
            && t < rules[i].to_s && (!strcmp(rules[i].what, what) || rules[i].what[0] == '*'))
            return &rules[i];
    return NULL;
}

/* Log a call and return what it fails with, or OK. */
static int enter(const char *function, int index)
{
    if (!S.loaded)
        load();
    write_log(function, index);
    const rule *fault = holding(S.faults, S.fault_count, index, function);
    return fault ? fault->code : OK;
}

#define ENTER(index)                                                                               \
    do {                                                                                           \
        int code_ = enter(__func__, index);                                                        \
        if (code_ != OK)                                                                           \
            return code_;                                                                          \
        if (!S.open)                                                                               \
            return NOT_INITIALIZED;                                                                \
    } while (0)
#define ENTER_GPU(g)                                                                               \
    do {                                                                                           \
        if (!(g))                                                                                  \
            return INVALID;                                                                        \
        ENTER((g)->index);                                                                         \
    } while (0)

static int is_na(const gpu *g, const char *field)
{
    return holding(S.na, S.na_count, g->index, field) != NULL;
}

static double power_at(const gpu *g, double t)
{
    for (int i = 1; i < g->points; i++)
        if (t < g->t[i])
            return t < g->t[0] ? g->w[0]
                               : g->w[i - 1]
                                     + (g->w[i] - g->w[i - 1]) * (t - g->t[i - 1])
                                           / (g->t[i] - g->t[i - 1]);
    return g->w[g->points - 1];
}

/* Return the integral of the power from 0 on: trapezoids between the points that are passed. */
static double energy_at(const gpu *g, double t)
{
    double sum = 0, from = 0;
    for (int i = 0; i < g->points && g->t[i] < t; i++)
        if (g->t[i] > from) {
            sum += (power_at(g, from) + power_at(g, g->t[i])) / 2 * (g->t[i] - from);
            from = g->t[i];
        }
    return sum + (power_at(g, from) + power_at(g, t)) / 2 * (t - from);
}

static double last_refresh(const gpu *g)
{
    return floor(now_s() / g->refresh_s + 1e-9) * g->refresh_s;
}

int amdsmi_init(uint64_t flags)
{
    int code = enter(__func__, NONE);
    if (code == OK && flags != GPUS)
        return INVALID;
    S.open += code == OK;
    return code;
}

int amdsmi_shut_down(void)
{
    ENTER(NONE);
    S.open--;
    return OK;
}

int amdsmi_get_socket_handles(uint32_t *count, void **sockets)
{
    ENTER(NONE);
    *count = (uint32_t)S.gpu_count;
    for (int i = 0; sockets && i < S.gpu_count; i++)
        sockets[i] = &S.gpus[i];
    return OK;
}

int amdsmi_get_processor_handles(gpu *socket, uint32_t *count, void **gpus)
{
    ENTER_GPU(socket);
    *count = 1;
    if (gpus)
        gpus[0] = socket;
    return OK;
}

int amdsmi_get_gpu_device_uuid(gpu *g, uint32_t *length, char *uuid)
{
    ENTER_GPU(g);
    if (*length < 38)
        return INVALID;
    snprintf(uuid, *length, "%02xff%04x-0000-1000-80%02x-%012lx", (unsigned)g->unique_id & 0xff,
             (unsigned)g->device_id & 0xffff, (unsigned)g->index,
             (unsigned long)(g->unique_id & 0xffffffffffff));
    return OK;
}

int amdsmi_get_gpu_enumeration_info(gpu *g, enumeration_info *info)
{
    ENTER_GPU(g);
    memset(info, 0, sizeof *info);
    info->drm_card = (uint32_t)g->index;
    info->drm_render = 128 + (uint32_t)g->index;
    info->hip_id = is_na(g, "hip") ? NOT_AVAILABLE_32 : (uint32_t)g->hip;
    info->hsa_id = is_na(g, "hip") ? NOT_AVAILABLE_32 : (uint32_t)g->hip + 1;
    snprintf(info->hip_uuid, sizeof info->hip_uuid, "GPU-%016lx", (unsigned long)g->unique_id);
    return OK;
}

int amdsmi_get_gpu_asic_info(gpu *g, asic_info *info)
{
    ENTER_GPU(g);
    memset(info, 0, sizeof *info);
    strcpy(info->market_name, g->name);
    strcpy(info->vendor_name, "Advanced Micro Devices, Inc. [AMD/ATI]");
    info->vendor_id = 0x1002;
    info->device_id = g->device_id;
    info->target_graphics_version = 0x942;
    if (g->unique_id)
        snprintf(info->asic_serial, sizeof info->asic_serial, "%016lx",
                 (unsigned long)g->unique_id);
    return OK;
}

int amdsmi_get_gpu_driver_info(gpu *g, driver_info *info)
{
    ENTER_GPU(g);
    memset(info, 0, sizeof *info);
    strcpy(info->driver_version, S.driver);
    strcpy(info->driver_name, "amdgpu");
    return OK;
}

int amdsmi_get_gpu_memory_total(gpu *g, int kind, uint64_t *bytes)
{
    ENTER_GPU(g);
    *bytes = (uint64_t)(g->total_mib * 1048576.0);
    return kind == VRAM ? OK : NOT_SUPPORTED;
}

int amdsmi_get_gpu_memory_usage(gpu *g, int kind, uint64_t *bytes)
{
    ENTER_GPU(g);
    *bytes = (uint64_t)(g->used_mib * 1048576.0);
    return kind == VRAM ? OK : NOT_SUPPORTED;
}

int amdsmi_get_power_info(gpu *g, power_info *info)
{
    ENTER_GPU(g);
    memset(info, 0, sizeof *info);
    uint32_t watts = g->is_secondary ? 0 : (uint32_t)lrint(power_at(g, last_refresh(g)));
    int gone = is_na(g, "power");
    info->current_socket_power = gone || g->is_average ? NOT_AVAILABLE_16 : watts;
    info->average_socket_power = gone ? NOT_AVAILABLE_32 : g->is_average ? watts : NOT_AVAILABLE_16;
    info->socket_power = gone ? NOT_AVAILABLE_16 : watts;
    info->gfx_voltage = info->soc_voltage = info->mem_voltage = NOT_AVAILABLE_16;
    info->power_limit = 750;
    return OK;
}

int amdsmi_get_energy_count(gpu *g, uint64_t *count, float *resolution_uj, uint64_t *time_ns)
{
    ENTER_GPU(g);
    double t = last_refresh(g), zero = 0;
    uint64_t start = g->start;
    for (int i = 0; i < S.stuck_count; i++)
        if (S.stuck[i].index == g->index && t >= S.stuck[i].from_s && t < S.stuck[i].to_s)
            t = S.stuck[i].from_s;
    for (int i = 0; i < S.reset_count; i++)
        if (S.resets[i].index == g->index && t >= S.resets[i].from_s) {
            zero = energy_at(g, S.resets[i].from_s);
            start = 0;
        }
    double joules = energy_at(g, t) - zero;
    int64_t counted = (int64_t)start + (int64_t)floor(joules * 1e6 / (double)g->resolution_uj);
    if (counted < 0)
        die("the energy counter is below 0 before t0", "give counter a START");
    *count = g->is_secondary ? 0 : (uint64_t)counted;
    *resolution_uj = g->resolution_uj;
    *time_ns = (uint64_t)(t * 1e9);
    return OK;
}

int amdsmi_get_gpu_activity(gpu *g, engine_usage *usage)
{
    ENTER_GPU(g);
    memset(usage, 0, sizeof *usage);
    usage->gfx_activity = is_na(g, "activity") ? NOT_AVAILABLE_16 : (uint32_t)lrint(g->activity);
    usage->umc_activity = usage->mm_activity = NOT_AVAILABLE_16;
    return OK;
}

int amdsmi_get_temp_metric(gpu *g, int sensor, int metric, int64_t *celsius)
{
    ENTER_GPU(g);
    double value = sensor == EDGE ? g->edge : sensor == HOTSPOT ? g->hotspot : NAN;
    if (metric != CURRENT || isnan(value))
        return NOT_SUPPORTED;
    *celsius = lrint(value);
    return OK;
}
