/* What the GPUs of the driver library of the tests do over time, and how their sensors show it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_nvml.h"

static const double AVERAGE_WINDOW_S = 1.0;

static int word_is(const char *text, const char *word)
{
    size_t length = strlen(word);
    return !strncmp(text, word, length) && text[length] == ' ';
}

/* Add a point behind all others; 0 if it is before the last. */
static int add_point(curve *c, double t, double y)
{
    int i = c->count;
    if (i && t < c->t[i - 1])
        return 0;
    if (i % 64 == 0) {
        size_t size = (size_t)(i + 64) * sizeof(double);
        c->t = realloc(c->t, size);
        c->y = realloc(c->y, size);
        c->before = realloc(c->before, size);
    }
    double mean = i ? c->kind == LINEAR ? (c->y[i - 1] + y) / 2 : c->y[i - 1] : 0;
    c->before[i] = i ? c->before[i - 1] + mean * (t - c->t[i - 1]) : 0;
    c->t[i] = t;
    c->y[i] = y;
    c->count++;
    return 1;
}

static void read_points(curve *c, const char *text, const char *line)
{
    char *end, *middle;
    while (1) {
        double t = strtod(text, &middle), y = strtod(middle, &end);
        if (middle == text)
            break;
        if (end == middle || !add_point(c, t, y))
            die("not points in order", line);
        text = end;
    }
    if (!c->count || text[strspn(text, " \n")])
        die("not points", line);
}

/* Numbers to the end of the line; returns whether there are as many as are asked for. */
static int numbers(const char *text, int count, double **to)
{
    for (int i = 0; i < count; i++) {
        char *end;
        *to[i] = strtod(text, &end);
        if (end == text)
            return 0;
        text = end;
    }
    return !text[strspn(text, " \n")];
}

curve read_curve(const char *text, const char *line)
{
    curve c = {.kind = CONSTANT};
    double *to[] = {&c.a, &c.b, &c.c, &c.d};
    int good = 1;
    if (word_is(text, "pwl") || word_is(text, "steps")) {
        c.kind = word_is(text, "pwl") ? LINEAR : STEPS;
        read_points(&c, strchr(text, ' '), line);
    } else if (word_is(text, "live")) {
        c.kind = STEPS;
        c.is_live = 1;
        good = numbers(text + 4, 1, to) && add_point(&c, -1e6, c.a);
    } else if (word_is(text, "sine")) {
        c.kind = SINE;
        good = numbers(text + 4, 3, to) && c.c > 0;
    } else if (word_is(text, "square")) {
        c.kind = SQUARE;
        good = numbers(text + 6, 4, to) && c.c > 0 && c.d >= 0 && c.d <= 1;
    } else {
        good = numbers(text + (word_is(text, "const") ? 5 : 0), 1, to);
    }
    if (!good)
        die("not a curve", line);
    return c;
}

/* The last point at or before t, or the first one if t is before it. */
static int last_point(const curve *c, double t)
{
    int low = 0, high = c->count;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (c->t[middle] <= t)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static double slope(const curve *c, int i, double t)
{
    return c->kind == STEPS || t < c->t[i] || i + 1 == c->count
               ? 0
               : (c->y[i + 1] - c->y[i]) / (c->t[i + 1] - c->t[i]);
}

double curve_at(const curve *c, double t)
{
    int i;
    switch (c->kind) {
    case SINE:
        return c->a + c->b * sin(2 * M_PI * t / c->c);
    case SQUARE:
        return t - floor(t / c->c) * c->c < c->d * c->c ? c->b : c->a;
    case LINEAR:
    case STEPS:
        i = last_point(c, t);
        return c->y[i] + slope(c, i, t) * (t - c->t[i]);
    case CONSTANT:
        return c->a;
    default:
        return 0;
    }
}

double curve_integral(const curve *c, double t)
{
    int i;
    double x, whole;
    switch (c->kind) {
    case SINE:
        return c->a * t + c->b * c->c / (2 * M_PI) * (1 - cos(2 * M_PI * t / c->c));
    case SQUARE:
        whole = floor(t / c->c);
        x = t - whole * c->c;
        return c->a * t + (c->b - c->a) * (whole * c->d * c->c + fmin(x, c->d * c->c));
    case LINEAR:
    case STEPS:
        i = last_point(c, t);
        x = t - c->t[i];
        return c->before[i] + c->y[i] * x + slope(c, i, t) * x * x / 2;
    case CONSTANT:
        return c->a * t;
    default:
        return 0;
    }
}

/* The last refresh at or before now. */
static double refreshed_s(const device *gpu, int64_t refresh_ns)
{
    int64_t since = now_ns() - gpu->phase_ns;
    int64_t rest = since % refresh_ns;
    return (double)(since - (rest < 0 ? rest + refresh_ns : rest) + gpu->phase_ns) / 1e9;
}

static double mean_power_w(const device *gpu, double window_s)
{
    double t = refreshed_s(gpu, gpu->power_refresh_ns);
    double mean = window_s > 0 ? (curve_integral(&gpu->power, t)
                                  - curve_integral(&gpu->power, t - window_s)) / window_s
                               : curve_at(&gpu->power, t);
    return fmax(0, mean * gpu->power_gain);
}

static unsigned int milli(double w)
{
    return (unsigned int)llround(w * 1000);
}

static unsigned int instant_mw(const device *gpu)
{
    return milli(mean_power_w(gpu, gpu->power_window_s));
}

static unsigned int average_mw(const device *gpu)
{
    return milli(mean_power_w(gpu, AVERAGE_WINDOW_S));
}

/* Add to a live curve what was written since it was last looked at. */
static void follow(const device *gpu, curve *c)
{
    const char *path = getenv("FAKE_NVML_POWER");
    FILE *file = c->is_live && path ? fopen(path, "r") : NULL;
    char line[128];
    if (!file)
        return;
    fseek(file, c->offset, SEEK_SET);
    while (fgets(line, sizeof line, file) && strchr(line, '\n')) {
        int index;
        uint64_t ns;
        double w;
        c->offset = ftell(file);
        if (sscanf(line, "%d %lu %lf", &index, &ns, &w) != 3)
            die("not a GPU, a time and a power", line);
        if (index == gpu->index && !add_point(c, (double)(int64_t)(ns - S.t0) / 1e9, w))
            die("not in order", line);
    }
    fclose(file);
}

static int has_power(device *d)
{
    follow(d, &d->power);
    return d->power.kind != ABSENT; /* a compute instance has none of its own */
}

static int has_average(device *d)
{
    return has_power(d) && d->architecture >= AMPERE;
}

static int has_counter(device *d)
{
    return has_power(d) && d->architecture >= VOLTA;
}

static double stuck_s(const device *gpu, double t)
{
    for (int i = 0; i < S.stuck.count; i++) {
        const period *p = &S.stuck.items[i];
        if (p->index == gpu->index && t >= p->from_s && t < p->to_s)
            return p->from_s;
    }
    return t;
}

static unsigned long long counter_mj(const device *gpu)
{
    double t = stuck_s(gpu, refreshed_s(gpu, gpu->energy_refresh_ns));
    double start_j = gpu->counter_start_j, since = 0, now = now_s();
    for (int i = 0; i < S.resets.count; i++) {
        const period *p = &S.resets.items[i];
        if (p->index == gpu->index && now >= p->from_s && (start_j != 0 || p->from_s > since)) {
            start_j = 0;
            since = p->from_s;
        }
    }
    double j = curve_integral(&gpu->power, t) - curve_integral(&gpu->power, since);
    return (unsigned long long)fmax(0, floor((start_j + j * gpu->counter_gain) * 1000));
}

int nvmlDeviceGetPowerUsage(device *d, unsigned int *mw)
{
    ENTER_DEVICE(d);
    if (!has_power(d))
        return NOT_SUPPORTED;
    int average = d->usage_is_average == NONE ? has_average(d) : d->usage_is_average;
    *mw = average ? average_mw(d) : instant_mw(d);
    return OK;
}

int nvmlDeviceGetEnforcedPowerLimit(device *d, unsigned int *mw)
{
    ENTER_DEVICE(d);
    if (!has_power(d))
        return NOT_SUPPORTED;
    *mw = milli(d->limit_w);
    return OK;
}

int nvmlDeviceGetTotalEnergyConsumption(device *d, unsigned long long *mj)
{
    ENTER_DEVICE(d);
    if (!has_counter(d))
        return NOT_SUPPORTED;
    *mj = counter_mj(d);
    return OK;
}

static void read_field(device *d, field_value *field)
{
    char name[32];
    snprintf(name, sizeof name, "field:%u", field->field_id);
    field->timestamp = (now_ns() + (int64_t)S.t0 + S.wall_offset_ns) / 1000;
    field->latency_us = 0;
    field->value_type = TYPE_UNSIGNED_INT;
    field->code = failure(name, d->parent ? d->parent->index : d->index);
    if (field->code != OK)
        return;
    if (field->field_id == FIELD_ENERGY && has_counter(d)) {
        field->value_type = TYPE_UNSIGNED_LONG_LONG;
        field->value.ull = counter_mj(d);
    } else if (field->field_id == FIELD_POWER_AVERAGE && has_average(d)) {
        field->value.ui = average_mw(d);
    } else if (field->field_id == FIELD_POWER_INSTANT && has_power(d)) {
        field->value.ui = instant_mw(d);
    } else if (field->field_id == FIELD_POWER_LIMIT && has_power(d)) {
        field->value.ui = milli(d->limit_w);
    } else {
        field->code = NOT_SUPPORTED;
    }
}

int nvmlDeviceGetFieldValues(device *d, int count, field_value *fields)
{
    ENTER_DEVICE(d);
    if (!fields || count < 0)
        return INVALID_ARGUMENT;
    for (int i = 0; i < count; i++)
        read_field(d, &fields[i]);
    return OK;
}

int nvmlDeviceGetUtilizationRates(device *d, utilization *rates)
{
    ENTER_DEVICE(d);
    if (d->utilization.kind == ABSENT || d->part_count)
        return NOT_SUPPORTED;
    rates->gpu = (unsigned int)lround(curve_at(&d->utilization, now_s()));
    rates->memory = rates->gpu / 2;
    return OK;
}

static int degrees(const device *d)
{
    return (int)lround(curve_at(&d->temperature, now_s()));
}

int nvmlDeviceGetTemperature(device *d, unsigned int sensor, unsigned int *celsius)
{
    ENTER_DEVICE(d);
    if (sensor)
        return INVALID_ARGUMENT;
    if (d->temperature.kind == ABSENT)
        return NOT_SUPPORTED;
    *celsius = (unsigned int)degrees(d);
    return OK;
}

int nvmlDeviceGetTemperatureV(device *d, temperature_v1 *temperature)
{
    ENTER_DEVICE(d);
    if (temperature->version != TEMPERATURE_V1)
        return ARGUMENT_VERSION_MISMATCH;
    if (temperature->sensor)
        return INVALID_ARGUMENT;
    if (d->temperature.kind == ABSENT)
        return NOT_SUPPORTED;
    temperature->temperature = degrees(d);
    return OK;
}

static unsigned long long bytes(double mib)
{
    return (unsigned long long)(mib * 1048576.0);
}

int nvmlDeviceGetMemoryInfo(device *d, memory_v1 *memory)
{
    ENTER_DEVICE(d);
    memory->total = bytes(d->total_mib);
    memory->used = bytes(curve_at(&d->used, now_s()));
    memory->free = memory->total - memory->used;
    return OK;
}

int nvmlDeviceGetMemoryInfo_v2(device *d, memory_v2 *memory)
{
    ENTER_DEVICE(d);
    if (memory->version != MEMORY_V2)
        return ARGUMENT_VERSION_MISMATCH;
    memory->total = bytes(d->total_mib);
    memory->reserved = 0;
    memory->used = bytes(curve_at(&d->used, now_s()));
    memory->free = memory->total - memory->used;
    return OK;
}
