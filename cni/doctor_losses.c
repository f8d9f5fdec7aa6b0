/*
 * Checks of what went missing: devices that a pod did not give back, packets on the way, and ranks
 * between a launcher and its processes.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "doctor.h"

#include <stdlib.h>
#include <string.h>

/* ---- devices -----------------------------------------------------------------------------------
 */

static bool has_rdma(const struct cni_doctor *doctor, const json_t *netdev)
{
    const json_t *device;
    size_t index;
    json_array_foreach(json_object_get(doctor->inventory, "rdma"), index, device)
    {
        if (strcmp(cni_doctor_text_of(device, "pci"), cni_doctor_text_of(netdev, "pci")) == 0)
            return true;
    }
    return false;
}

/* Of a driver under which other functions have RDMA devices. */
static bool is_expected(const struct cni_doctor *doctor, const json_t *netdev)
{
    const json_t *other;
    size_t index;
    json_array_foreach(json_object_get(doctor->inventory, "netdevs"), index, other)
    {
        if (*cni_doctor_text_of(other, "pci") && has_rdma(doctor, other) &&
            strcmp(cni_doctor_text_of(other, "driver"), cni_doctor_text_of(netdev, "driver")) == 0)
            return true;
    }
    return false;
}

static void check_lost(struct cni_doctor *doctor)
{
    const json_t *netdev;
    size_t index, lost = 0;
    if (strcmp(cni_doctor_text_of(doctor->inventory, "rdma_netns_mode"), "exclusive") != 0)
        return;
    json_array_foreach(json_object_get(doctor->inventory, "netdevs"), index, netdev)
    {
        if (!*cni_doctor_text_of(netdev, "pci") || !*cni_doctor_text_of(netdev, "driver") ||
            has_rdma(doctor, netdev) || !is_expected(doctor, netdev))
            continue;
        cni_doctor_bad(doctor, CNI_CHECK_lost, CNI_WARNING,
                       "%s (%s, %s) is here, and its RDMA device is not",
                       cni_doctor_text_of(netdev, "name"), cni_doctor_text_of(netdev, "pci"),
                       cni_doctor_text_of(netdev, "driver"));
        lost++;
    }
    if (!lost && json_array_size(json_object_get(doctor->inventory, "rdma")))
        cni_doctor_good(doctor, CNI_CHECK_lost, "interfaces that are here have theirs");
}

/* ---- packets -----------------------------------------------------------------------------------
 */

/* Drivers name them differently. They count since the driver was loaded, so that they are a hint.
 */
static void check_counters(struct cni_doctor *doctor, const json_t *device, const json_t *port)
{
    static const char *const names[] = {"out_of_sequence", "out_of_seq_request", "packet_seq_err",
                                        "local_ack_timeout_err", "retry_exceeded_err"};
    const char *name = cni_doctor_text_of(device, "name"), *seen = "";
    int number = (int)json_integer_value(json_object_get(port, "port"));
    bool known = false;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        int64_t count =
            cni_sysfs_integer(doctor->sysfs, "/sys/class/infiniband/%s/ports/%d/hw_counters/%s",
                              name, number, names[i]);
        known |= count >= 0;
        if (count > 0)
            seen = cni_arena_format(doctor->arena, "%s%s%s %lld", seen, *seen ? ", " : "", names[i],
                                    (long long)count);
    }
    if (*seen)
        cni_doctor_bad(doctor, CNI_CHECK_counters, CNI_NOTE, "%s:%d: %s", name, number, seen);
    else if (known)
        cni_doctor_good(doctor, CNI_CHECK_counters, "%s:%d: none", name, number);
}

/* ---- ranks -------------------------------------------------------------------------------------
 */

static long variable_number(const struct cni_doctor *doctor, const char *name)
{
    const char *text = cni_doctor_variable(doctor, name);
    char *end = NULL;
    long value = text ? strtol(text, &end, 10) : -1;
    return end && end != text && !*end ? value : -1;
}

/* Slots of `host slots=N` or `host:N`, one host a line. */
static long hostfile_slots(const char *text, long *hosts)
{
    long slots = 0;
    for (; *text; text += strspn(text, "\n")) {
        size_t length = strcspn(text, "\n"), word = strspn(text, " \t");
        if (word < length && text[word] != '#') {
            char line[512];
            snprintf(line, sizeof(line), "%.*s", (int)length, text);
            const char *number = strstr(line, "slots="), *colon = strrchr(line, ':');
            long own = number  ? strtol(number + 6, NULL, 10)
                       : colon ? strtol(colon + 1, NULL, 10)
                               : 1;
            slots += own > 0 && own < 1000000 ? own : 1;
            ++*hosts;
        }
        text += length;
    }
    return slots;
}

static void check_hostfile(struct cni_doctor *doctor)
{
    const char *named = cni_doctor_variable(doctor, "OMPI_MCA_orte_default_hostfile");
    const char *text = cni_sysfs_text(doctor->sysfs, "%s", named ? named : "/etc/mpi/hostfile");
    long ranks = variable_number(doctor, "OMPI_COMM_WORLD_SIZE"), hosts = 0;
    if (!text)
        return;
    long slots = hostfile_slots(text, &hosts);
    if (ranks < 0)
        ranks = variable_number(doctor, "PMI_SIZE");
    if (ranks > 0 && ranks < hosts)
        cni_doctor_bad(doctor, CNI_CHECK_world, CNI_ERROR,
                       "ranks started: %ld; the hostfile has %ld hosts with %ld slots", ranks,
                       hosts, slots);
    else if (ranks > 0 && ranks != slots)
        cni_doctor_bad(doctor, CNI_CHECK_world, CNI_WARNING,
                       "ranks started: %ld; the hostfile has %ld hosts with %ld slots", ranks,
                       hosts, slots);
    else
        cni_doctor_good(doctor, CNI_CHECK_world, "%ld hosts with %ld slots%s", hosts, slots,
                        ranks > 0 ? ", all of them taken" : "");
}

/* What a PyTorchJob sets before torchrun has started anything. */
static void check_torch(struct cni_doctor *doctor)
{
    long rank = variable_number(doctor, "RANK"), world = variable_number(doctor, "WORLD_SIZE");
    long each = variable_number(doctor, "PET_NPROC_PER_NODE");
    if (rank < 0 || world < 0)
        return;
    if (rank >= world)
        cni_doctor_bad(doctor, CNI_CHECK_world, CNI_ERROR, "RANK is %ld of WORLD_SIZE %ld", rank,
                       world);
    else if (each > 1 && !cni_doctor_variable(doctor, "LOCAL_RANK"))
        cni_doctor_bad(doctor, CNI_CHECK_world, CNI_WARNING,
                       "RANK %ld counts nodes, WORLD_SIZE %ld processes, %ld a node", rank, world,
                       each);
    else
        cni_doctor_good(doctor, CNI_CHECK_world, "RANK %ld of WORLD_SIZE %ld", rank, world);
}

void cni_doctor_losses(struct cni_doctor *doctor)
{
    const json_t *device, *port;
    size_t i, j;
    check_lost(doctor);
    json_array_foreach(json_object_get(doctor->inventory, "rdma"), i, device)
    {
        json_array_foreach(json_object_get(device, "ports"), j, port)
        {
            check_counters(doctor, device, port);
        }
    }
    if (doctor->pod) {
        check_hostfile(doctor);
        check_torch(doctor);
    }
}
