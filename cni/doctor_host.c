/*
 * Checks of what surrounds the devices: limits, modes, GPUs, shared memory, promised devices.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "doctor.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

#define MEMLOCK_WANTED (64 << 20)
#define SHM_WANTED (256u << 20)
#define CAP_IPC_LOCK 14
#define DMABUF_KERNEL 512 /* 5.12 */

/* A number behind a key of /proc/self/status. */
static const char *status_of(struct cni_doctor *doctor, const char *key)
{
    const char *status = cni_sysfs_text(doctor->sysfs, "/proc/self/status");
    const char *line = status ? strstr(status, key) : NULL;
    return line ? line + strlen(key) : NULL;
}

static void check_memlock(struct cni_doctor *doctor)
{
    const json_t *soft =
        json_object_get(json_object_get(doctor->inventory, "memlock_bytes"), "soft");
    const char *capabilities = status_of(doctor, "\nCapEff:");
    unsigned long long set = capabilities ? strtoull(capabilities, NULL, 16) : 0;
    bool lifted = set >> CAP_IPC_LOCK & 1;
    if (json_is_string(soft))
        cni_doctor_good(doctor, CNI_CHECK_memlock, "unlimited");
    else if (json_is_integer(soft) && (lifted || json_integer_value(soft) >= MEMLOCK_WANTED))
        cni_doctor_good(doctor, CNI_CHECK_memlock, "%lld KiB%s",
                        (long long)json_integer_value(soft) / 1024,
                        lifted ? ", which IPC_LOCK lifts" : "");
    else if (json_is_integer(soft))
        cni_doctor_bad(doctor, CNI_CHECK_memlock, CNI_ERROR, "%lld KiB, and no IPC_LOCK in effect",
                       (long long)json_integer_value(soft) / 1024);
}

static void check_mode(struct cni_doctor *doctor)
{
    const char *mode = cni_doctor_text_of(doctor->inventory, "rdma_netns_mode");
    bool devices = json_array_size(json_object_get(doctor->inventory, "rdma")) > 0;
    if (*mode && (devices || strcmp(mode, "shared") == 0))
        cni_doctor_good(doctor, CNI_CHECK_netns_mode, "%s", mode);
    else if (*mode)
        cni_doctor_bad(doctor, CNI_CHECK_netns_mode, CNI_ERROR,
                       "exclusive, and no device is in this network namespace");
    else if (!doctor->pod)
        cni_doctor_bad(doctor, CNI_CHECK_netns_mode, CNI_WARNING, "unknown: ib_core is not loaded");
}

/* Of a node only: a pod has files of its image. */
static void check_boot(struct cni_doctor *doctor)
{
    const char *mode = cni_doctor_text_of(doctor->inventory, "rdma_netns_mode");
    const json_t *boot = json_object_get(doctor->inventory, "rdma_netns_boot");
    const char *later = cni_doctor_text_of(boot, "mode");
    const char *source = cni_doctor_text_of(boot, "source");
    if (doctor->pod || !*mode || !*later)
        return;
    if (strcmp(mode, later) == 0)
        cni_doctor_good(doctor, CNI_CHECK_netns_boot, "%s after a restart, too: %s%s", later,
                        *source ? "set in " : "the kernel's default", source);
    else
        cni_doctor_bad(doctor, CNI_CHECK_netns_boot, CNI_WARNING,
                       "%s now, %s after a restart: %s%s", mode, later,
                       *source ? "set in " : "the kernel's default, as no file sets netns_mode",
                       source);
}

/* ---- GPUs --------------------------------------------------------------------------------------
 */

static bool has_module(const struct cni_doctor *doctor, const char *name)
{
    const json_t *module;
    size_t index;
    json_array_foreach(json_object_get(doctor->inventory, "modules"), index, module)
    {
        if (strcmp(json_string_value(module), name) == 0)
            return true;
    }
    return false;
}

static void check_distance(struct cni_doctor *doctor, const json_t *gpu)
{
    static const char *const order[] = {"PIX", "PXB", "PHB", "NODE", "SYS"};
    const char *device, *nearest = NULL;
    const json_t *distance;
    int best = 5;
    json_object_foreach(json_object_get(gpu, "distance"), device, distance)
    {
        for (int rank = 0; rank < best; rank++)
            if (strcmp(order[rank], json_string_value(distance)) == 0) {
                best = rank;
                nearest = device;
            }
    }
    if (nearest && best < 4)
        cni_doctor_good(doctor, CNI_CHECK_gpu_distance, "%s is %s from %s",
                        cni_doctor_text_of(gpu, "pci"), order[best], nearest);
    else if (nearest)
        cni_doctor_bad(doctor, CNI_CHECK_gpu_distance, CNI_WARNING,
                       "%s is on another socket than every RDMA device",
                       cni_doctor_text_of(gpu, "pci"));
}

static void check_gpus(struct cni_doctor *doctor)
{
    const json_t *gpus = json_object_get(doctor->inventory, "gpus"), *gpu;
    const char *kernel = cni_doctor_text_of(doctor->inventory, "kernel");
    char *end;
    size_t index;
    long version = strtol(kernel, &end, 10) * 100;
    version += *end == '.' ? strtol(end + 1, NULL, 10) : 0;
    json_array_foreach(gpus, index, gpu)
    {
        check_distance(doctor, gpu);
    }
    if (!json_array_size(gpus) || !json_array_size(json_object_get(doctor->inventory, "rdma")))
        return;
    if (has_module(doctor, "nvidia_peermem"))
        cni_doctor_good(doctor, CNI_CHECK_gpu_direct, "nvidia_peermem is loaded");
    else if (version >= DMABUF_KERNEL)
        cni_doctor_good(doctor, CNI_CHECK_gpu_direct, "kernel %s has dmabuf", kernel);
    else
        cni_doctor_bad(doctor, CNI_CHECK_gpu_direct, CNI_WARNING,
                       "no nvidia_peermem, and kernel %s has no dmabuf", kernel);
}

/* ---- what a pod was promised -------------------------------------------------------------------
 */

static bool is_known(const struct cni_doctor *doctor, const char *pci, size_t length)
{
    const json_t *device;
    size_t index;
    json_array_foreach(json_object_get(doctor->inventory, "rdma"), index, device)
    {
        const char *own = cni_doctor_text_of(device, "pci");
        if (strlen(own) == length && strncmp(own, pci, length) == 0)
            return true;
    }
    return false;
}

/* PCIDEVICE_<RESOURCE>=address,address; the variables that end in _INFO hold JSON. */
static void check_promised(struct cni_doctor *doctor, const char *variable)
{
    size_t name = strcspn(variable, "=");
    if (strncmp(variable, "PCIDEVICE_", 10) != 0 || !variable[name] ||
        (name > 5 && strncmp(variable + name - 5, "_INFO", 5) == 0))
        return;
    for (const char *at = variable + name + 1; *at; at += strspn(at, ",")) {
        size_t length = strcspn(at, ",");
        if (is_known(doctor, at, length))
            cni_doctor_good(doctor, CNI_CHECK_pci_devices, "%.*s of %.*s", (int)length, at,
                            (int)name, variable);
        else
            cni_doctor_bad(doctor, CNI_CHECK_pci_devices, CNI_ERROR,
                           "%.*s of %.*s has no RDMA device here", (int)length, at, (int)name,
                           variable);
        at += length;
    }
}

static void check_shm(struct cni_doctor *doctor)
{
    struct statvfs shm;
    if (!doctor->live || !doctor->pod || statvfs("/dev/shm", &shm) != 0)
        return;
    unsigned long long bytes = (unsigned long long)shm.f_blocks * shm.f_frsize;
    if (bytes >= SHM_WANTED)
        cni_doctor_good(doctor, CNI_CHECK_shm, "%llu MiB", bytes >> 20);
    else
        cni_doctor_bad(doctor, CNI_CHECK_shm, CNI_WARNING, "%llu MiB", bytes >> 20);
}

void cni_doctor_host(struct cni_doctor *doctor)
{
    check_memlock(doctor);
    check_mode(doctor);
    check_boot(doctor);
    check_gpus(doctor);
    for (const char *const *at = doctor->environment; doctor->pod && at && *at; at++)
        check_promised(doctor, *at);
    check_shm(doctor);
}
