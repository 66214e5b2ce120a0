/* The processes on the GPUs of the driver library of the tests. The use of a GPU is sampled at
 * every multiple of SAMPLE_NS; a process has the sample of the last one at which it ran, as long as
 * that is kept. Timestamps are wall-clock time in microseconds. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "fake_nvml.h"

enum { MAX_FOUND = MAX_PERIODS };
static const int64_t SAMPLE_NS = 200000000, KEPT_NS = 10000000000;

typedef struct {
    unsigned int pid, sm;
    double mib;
    int64_t sampled_ns; /* since t0 */
} found_process;
typedef struct {
    unsigned int count;
    found_process items[MAX_FOUND];
} found_list;

/* Add a process, or replace what is known of it by what is newer. */
static void add(found_list *list, found_process new)
{
    for (unsigned int i = 0; i < list->count; i++) {
        found_process *old = &list->items[i];
        if (old->pid == new.pid) {
            if (new.sampled_ns > old->sampled_ns)
                *old = new;
            return;
        }
    }
    if (list->count == MAX_FOUND)
        die("too many processes", "on one GPU");
    list->items[list->count++] = new;
}

/* When a process that runs in a period was last sampled; INT64_MIN if never. */
static int64_t sampled_ns(const period *p)
{
    int64_t now = now_ns(), last = now - (now % SAMPLE_NS + SAMPLE_NS) % SAMPLE_NS;
    if (p->to_s * 1e9 <= (double)last) {
        int64_t end = llround(p->to_s * 1e9) - 1;
        last = end - (end % SAMPLE_NS + SAMPLE_NS) % SAMPLE_NS;
    }
    return (double)last < p->from_s * 1e9 || now - last > KEPT_NS ? INT64_MIN : last;
}

static void add_period(found_list *list, const device *gpu, const period *p, int sampled)
{
    int64_t last = sampled_ns(p);
    double t = now_s();
    int runs = t >= p->from_s && t < p->to_s;
    if (p->index == gpu->index && (sampled ? last != INT64_MIN && p->sm > 0 : runs))
        add(list, (found_process){(unsigned int)p->number, (unsigned int)lround(p->sm), p->mib,
                                  last});
}

/* The processes that run on a GPU, or those of which there is a sample. */
static found_list find(const device *gpu, int sampled)
{
    found_list list = {.count = 0};
    for (int i = 0; i < S.processes.count; i++)
        add_period(&list, gpu, &S.processes.items[i], sampled);
    const char *path = getenv("FAKE_NVML_PROCS");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file)
        return list;
    char line[128];
    while (fgets(line, sizeof line, file)) {
        period p = {.from_s = -INFINITY, .to_s = INFINITY};
        if (sscanf(line, "%d %d %lf %lf", &p.index, &p.number, &p.sm, &p.mib) >= 3)
            add_period(&list, gpu, &p, sampled);
    }
    fclose(file);
    return list;
}

/* The one place that decides whether a caller's array takes what there is: *count, the room in it,
 * becomes what is there. */
static int room_for(unsigned int have, unsigned int *count, const void *array)
{
    unsigned int room = array ? *count : 0;
    *count = have;
    return room < have ? INSUFFICIENT_SIZE : OK;
}

static unsigned long long timestamp_us(const found_process *p)
{
    return (unsigned long long)(p->sampled_ns + (int64_t)S.t0 + S.wall_offset_ns) / 1000;
}

/* Find the samples newer than a timestamp; fails where there are none. */
static int newer(const device *d, unsigned long long last_seen, found_list *list)
{
    if (d->parent || d->part_count)
        return NOT_SUPPORTED;
    found_list all = find(d, 1);
    list->count = 0;
    for (unsigned int i = 0; i < all.count; i++)
        if (timestamp_us(&all.items[i]) > last_seen)
            list->items[list->count++] = all.items[i];
    return list->count ? OK : NOT_FOUND;
}

int nvmlDeviceGetProcessUtilization(device *d, process_sample *samples, unsigned int *count,
                                    unsigned long long last_seen)
{
    ENTER_DEVICE(d);
    found_list list;
    int code = count ? newer(d, last_seen, &list) : INVALID_ARGUMENT;
    if (code == OK)
        code = room_for(list.count, count, samples);
    for (unsigned int i = 0; code == OK && i < list.count; i++) {
        const found_process *p = &list.items[i];
        samples[i] = (process_sample){
            .pid = p->pid, .timestamp = timestamp_us(p), .sm = p->sm, .memory = p->sm / 2};
    }
    return code;
}

int nvmlDeviceGetProcessesUtilizationInfo(device *d, processes_utilization_v1 *info)
{
    ENTER_DEVICE(d);
    found_list list;
    if (!info || info->version != PROCESSES_UTILIZATION_V1)
        return info ? ARGUMENT_VERSION_MISMATCH : INVALID_ARGUMENT;
    int code = newer(d, info->last_seen, &list);
    if (code == OK)
        code = room_for(list.count, &info->count, info->samples);
    for (unsigned int i = 0; code == OK && i < list.count; i++) {
        const found_process *p = &list.items[i];
        info->samples[i] = (process_sample_v1){
            .pid = p->pid, .timestamp = timestamp_us(p), .sm = p->sm, .memory = p->sm / 2};
    }
    return code;
}

/* A compute instance runs none: no test needs that yet. */
static int running(const device *d, unsigned int *count, process_info *infos)
{
    found_list list = {.count = 0};
    if (!count || (*count && !infos))
        return INVALID_ARGUMENT;
    if (!d->parent)
        list = find(d, 0);
    int code = room_for(list.count, count, infos);
    for (unsigned int i = 0; code == OK && i < list.count; i++)
        infos[i] = (process_info){.pid = list.items[i].pid,
                                  .used = (unsigned long long)(list.items[i].mib * 1048576),
                                  .gpu_instance = NO_INSTANCE,
                                  .compute_instance = NO_INSTANCE};
    return code;
}

int nvmlDeviceGetComputeRunningProcesses_v2(device *d, unsigned int *count, process_info *infos)
{
    ENTER_DEVICE(d);
    return running(d, count, infos);
}

int nvmlDeviceGetComputeRunningProcesses_v3(device *d, unsigned int *count, process_info *infos)
{
    ENTER_DEVICE(d);
    return running(d, count, infos);
}

static int none(unsigned int *count)
{
    if (!count)
        return INVALID_ARGUMENT;
    *count = 0;
    return OK;
}

int nvmlDeviceGetGraphicsRunningProcesses_v2(device *d, unsigned int *count, process_info *infos)
{
    (void)infos;
    ENTER_DEVICE(d);
    return none(count);
}

int nvmlDeviceGetGraphicsRunningProcesses_v3(device *d, unsigned int *count, process_info *infos)
{
    (void)infos;
    ENTER_DEVICE(d);
    return none(count);
}
