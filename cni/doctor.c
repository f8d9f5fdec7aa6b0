/*
 * The table of checks, and keeping what they see.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "doctor.h"

#include <stdarg.h>
#include <string.h>

const struct cni_doctor_check cni_doctor_checks[CNI_CHECK_COUNT] = {
#define CHECK(name, id, title, why, fix, ref) [CNI_CHECK_##name] = {id, title, why, fix, ref},
#include "doctor.def"
#undef CHECK
};

const struct cni_doctor_check *cni_doctor_check_find(const char *id)
{
    for (size_t i = 0; i < CNI_CHECK_COUNT; i++)
        if (strcmp(cni_doctor_checks[i].id, id) == 0)
            return &cni_doctor_checks[i];
    return NULL;
}

static struct cni_observation *observe(struct cni_doctor *doctor, enum cni_check_number check,
                                       const char *format, va_list arguments)
{
    char seen[400];
    vsnprintf(seen, sizeof(seen), format, arguments);
    struct cni_observation *kept = cni_arena_alloc(doctor->arena, sizeof(*kept));
    *kept = (struct cni_observation){.check = &cni_doctor_checks[check],
                                     .seen = cni_arena_copy(doctor->arena, seen, strlen(seen))};
    *doctor->tail = kept;
    doctor->tail = &kept->next;
    return kept;
}

void cni_doctor_good(struct cni_doctor *doctor, enum cni_check_number check, const char *format,
                     ...)
{
    va_list arguments;
    va_start(arguments, format);
    observe(doctor, check, format, arguments)->good = true;
    va_end(arguments);
}

void cni_doctor_bad(struct cni_doctor *doctor, enum cni_check_number check,
                    enum cni_severity severity, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    observe(doctor, check, format, arguments)->severity = severity;
    va_end(arguments);
    doctor->by_severity[severity]++;
}

const char *cni_doctor_variable(const struct cni_doctor *doctor, const char *name)
{
    size_t length = strlen(name);
    for (const char *const *at = doctor->environment; at && *at; at++)
        if (strncmp(*at, name, length) == 0 && (*at)[length] == '=')
            return *at + length + 1;
    return NULL;
}

const char *cni_doctor_text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

const json_t *cni_doctor_netdev(const struct cni_doctor *doctor, const char *name)
{
    const json_t *netdev;
    size_t index;
    json_array_foreach(json_object_get(doctor->inventory, "netdevs"), index, netdev)
    {
        if (strcmp(cni_doctor_text_of(netdev, "name"), name) == 0)
            return netdev;
    }
    return NULL;
}

bool cni_doctor_run(struct cni_doctor *doctor)
{
    size_t count = json_array_size(json_object_get(doctor->inventory, "rdma"));
    doctor->tail = &doctor->first;
    if (count)
        cni_doctor_good(doctor, CNI_CHECK_devices, "%zu of them", count);
    else
        cni_doctor_bad(doctor, CNI_CHECK_devices, CNI_ERROR, "none in /sys/class/infiniband");
    cni_doctor_devices(doctor);
    cni_doctor_host(doctor);
    cni_doctor_losses(doctor);
    cni_doctor_addresses(doctor);
    if (doctor->pod)
        cni_doctor_attached(doctor);
    return count > 0;
}
