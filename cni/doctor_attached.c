/*
 * What multus says that it attached, against what is here: the annotations of the pod, which the
 * downward API puts into a file, the interfaces, and the devices that were promised.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "doctor.h"

#include <string.h>

#define STATUS "k8s.v1.cni.cncf.io/network-status"
#define NETWORKS "k8s.v1.cni.cncf.io/networks"
#define NAMES_MAX 64

/* ---- the file ----------------------------------------------------------------------------------
 */

/* The value of `key="..."` without its quotes and escapes; NULL when there is none. */
static const char *annotation(struct cni_doctor *doctor, const char *text, const char *key)
{
    size_t length = strlen(key), used = 0;
    const char *line = text;
    for (; line; line = strchr(line, '\n'), line = line ? line + 1 : NULL)
        if (strncmp(line, key, length) == 0 && strncmp(line + length, "=\"", 2) == 0)
            break;
    if (!line)
        return NULL;
    line += length + 2;
    char *out = cni_arena_alloc(doctor->arena, strlen(line) + 1);
    for (; *line && *line != '"' && *line != '\n'; line++) {
        bool escaped = *line == '\\' && line[1] && line[1] != '\n';
        line += escaped;
        out[used++] = !escaped ? *line : *line == 'n' ? '\n' : *line == 't' ? '\t' : *line;
    }
    out[used] = '\0';
    return out;
}

/* Where device plugins' injectors and manifests mount the annotations. */
static const char *annotations_file(struct cni_doctor *doctor)
{
    static const char *const paths[] = {"/etc/podnetinfo/annotations", "/etc/podinfo/annotations"};
    const char *text = NULL;
    for (size_t i = 0; !text && i < sizeof(paths) / sizeof(paths[0]); i++)
        text = cni_sysfs_text(doctor->sysfs, "%s", paths[i]);
    return text;
}

/* ---- order -------------------------------------------------------------------------------------
 */

struct names {
    const char *list[NAMES_MAX]; /* without namespace and interface */
    size_t count;
};

static void add_name(struct cni_doctor *doctor, struct names *names, const char *text, size_t bytes)
{
    const char *kept = cni_arena_copy(doctor->arena, text, bytes), *slash = strrchr(kept, '/');
    if (*kept && names->count < NAMES_MAX)
        names->list[names->count++] = slash ? slash + 1 : kept;
}

static void names_asked(struct cni_doctor *doctor, const char *text, struct names *names)
{
    json_t *list = json_loads(text, 0, NULL), *entry;
    size_t index;
    json_array_foreach(list, index, entry)
    {
        const char *name = cni_doctor_text_of(entry, "name");
        add_name(doctor, names, name, strlen(name));
    }
    for (const char *at = text; !list && *at; at += strspn(at, ", \t\n")) {
        size_t whole = strcspn(at, ","), bytes = strcspn(at, "@, \t\n");
        add_name(doctor, names, at, bytes);
        at += whole;
    }
    json_decref(list);
}

static void names_attached(struct cni_doctor *doctor, const json_t *status, struct names *names)
{
    const json_t *entry;
    size_t index;
    json_array_foreach(status, index, entry)
    {
        const char *name = cni_doctor_text_of(entry, "name");
        if (!json_is_true(json_object_get(entry, "default")))
            add_name(doctor, names, name, strlen(name));
    }
}

static void check_order(struct cni_doctor *doctor, const char *asked_text, const json_t *status)
{
    struct names asked = {.count = 0}, attached = {.count = 0};
    names_asked(doctor, asked_text, &asked);
    names_attached(doctor, status, &attached);
    if (asked.count != attached.count) {
        cni_doctor_bad(doctor, CNI_CHECK_attached, CNI_ERROR,
                       "%zu attachments are asked for, %zu were made", asked.count, attached.count);
        return;
    }
    for (size_t i = 0; i < asked.count; i++)
        if (strcmp(asked.list[i], attached.list[i]) != 0) {
            cni_doctor_bad(doctor, CNI_CHECK_attached, CNI_WARNING,
                           "attachment %zu is %.80s; the annotation has %.80s there", i,
                           attached.list[i], asked.list[i]);
            return;
        }
    cni_doctor_good(doctor, CNI_CHECK_attached, "%zu attachments in the order of the annotation",
                    asked.count);
}

/* ---- devices -----------------------------------------------------------------------------------
 */

/* Among the addresses of any PCIDEVICE_ variable; true when there is none. */
static bool is_promised(const struct cni_doctor *doctor, const char *pci)
{
    bool any = false;
    for (const char *const *at = doctor->environment; at && *at; at++) {
        size_t name = strcspn(*at, "=");
        if (strncmp(*at, "PCIDEVICE_", 10) != 0 || !(*at)[name] ||
            (name > 5 && strncmp(*at + name - 5, "_INFO", 5) == 0))
            continue;
        any = true;
        const char *found = strstr(*at + name, pci);
        if (found && strchr("=,", found[-1]) && strchr(",", found[strlen(pci)]))
            return true;
    }
    return !any;
}

static void check_device(struct cni_doctor *doctor, const json_t *entry)
{
    const char *interface = cni_doctor_text_of(entry, "interface");
    const char *name = cni_doctor_text_of(entry, "name");
    const json_t *info = json_object_get(json_object_get(entry, "device-info"), "pci");
    const char *pci = cni_doctor_text_of(info, "pci-address");
    const json_t *netdev = cni_doctor_netdev(doctor, interface);
    const char *own = cni_doctor_text_of(netdev, "pci");
    if (!netdev)
        cni_doctor_bad(doctor, CNI_CHECK_attached, CNI_ERROR, "%.40s of %.80s is not here",
                       *interface ? interface : "the interface", name);
    else if (*pci && *own && strcmp(pci, own) != 0)
        cni_doctor_bad(doctor, CNI_CHECK_attached, CNI_ERROR, "%s of %.80s is %s, not %.40s",
                       interface, name, own, pci);
    else if (*pci && !is_promised(doctor, pci))
        cni_doctor_bad(doctor, CNI_CHECK_attached, CNI_ERROR,
                       "%s of %.80s is %.40s, which no device plugin gave this pod", interface,
                       name, pci);
    else
        cni_doctor_good(doctor, CNI_CHECK_attached, "%s is %.80s%s%.40s", interface, name,
                        *pci ? ", " : "", pci);
}

void cni_doctor_attached(struct cni_doctor *doctor)
{
    const char *file = annotations_file(doctor);
    const char *text = file ? annotation(doctor, file, STATUS) : NULL;
    const char *asked = file ? annotation(doctor, file, NETWORKS) : NULL;
    json_t *status = text ? json_loads(text, 0, NULL) : NULL;
    const json_t *entry;
    size_t index;
    if (text && !json_is_array(status))
        cni_doctor_bad(doctor, CNI_CHECK_attached, CNI_WARNING, "the annotation is no JSON list");
    json_array_foreach(status, index, entry)
    {
        if (!json_is_true(json_object_get(entry, "default")))
            check_device(doctor, entry);
    }
    if (json_is_array(status))
        check_order(doctor, asked ? asked : "", status);
    json_decref(status);
}
