/*
 * Plans as text and as JSON.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "plan.h"

struct section {
    enum cni_note_kind kind;
    const char *title, *key;
};

static const struct section sections[] = {
    {CNI_NOTE_PROBLEM, "no plan, because", "problems"},
    {CNI_NOTE_REASON, "because", "reasons"},
    {CNI_NOTE_REJECTED, "rejected", "rejected"},
    {CNI_NOTE_LEFT_OUT, "devices left out", "left_out"},
    {CNI_NOTE_DIFFERENCE, "differences between nodes", "differences"},
    {CNI_NOTE_ADVICE, "to be done elsewhere", "advice"},
};
#define SECTIONS (sizeof(sections) / sizeof(sections[0]))

/* Control characters of an inventory never reach the terminal. */
static void put_text(const char *text, FILE *out)
{
    for (; *text; text++)
        putc((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text, out);
}

static void print_rails(const struct cni_plan *plan, FILE *out)
{
    fprintf(out, "stack      %s\nisolation  %s\nrails      %u\n", cni_stack_name(plan->stack),
            plan->exclusive ? "exclusive" : "shared", plan->rail_count);
    for (uint32_t i = 0; i < plan->rail_count; i++) {
        const struct cni_rail *rail = &plan->rails[i];
        fprintf(out, "  %-9s ", rail->name);
        put_text(rail->master ? rail->master : "(several interfaces)", out);
        fprintf(out, ", %s, %s", rail->subnet, rail->full);
        if (rail->nics[0].gpu)
            fprintf(out, ", GPU at %s", rail->nics[0].gpu);
        putc('\n', out);
    }
}

bool cni_plan_text(const struct cni_plan *plan, FILE *out)
{
    if (plan->possible)
        print_rails(plan, out);
    for (size_t i = 0; i < SECTIONS; i++) {
        bool titled = false;
        for (const struct cni_plan_note *note = plan->notes; note; note = note->next) {
            if (note->kind != sections[i].kind)
                continue;
            if (!titled)
                fprintf(out, "%s:\n", sections[i].title);
            titled = true;
            fputs("  ", out);
            put_text(note->subject, out);
            fputs(": ", out);
            put_text(note->text, out);
            putc('\n', out);
        }
    }
    return fflush(out) == 0 && !ferror(out);
}

static json_t *text_or_null(const char *text)
{
    json_t *value = text ? json_string(text) : NULL;
    return value ? value : json_null();
}

static json_t *nic_json(const struct cni_nic *nic)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "node", text_or_null(nic->node), "interface",
                     text_or_null(nic->netdev), "rdma", text_or_null(nic->rdma), "pci",
                     text_or_null(nic->pci), "gpu", text_or_null(nic->gpu));
}

static json_t *rails_json(const struct cni_plan *plan)
{
    json_t *rails = json_array();
    for (uint32_t i = 0; plan->possible && i < plan->rail_count; i++) {
        const struct cni_rail *rail = &plan->rails[i];
        json_t *devices = json_array();
        for (uint32_t n = 0; n < plan->node_count; n++)
            json_array_append_new(devices, nic_json(&rail->nics[n]));
        json_array_append_new(rails,
                              json_pack("{s:s, s:s, s:s, s:o, s:o}", "name", rail->name, "subnet",
                                        rail->subnet, "resource", rail->full, "interface",
                                        text_or_null(rail->master), "devices", devices));
    }
    return rails;
}

json_t *cni_plan_json(const struct cni_plan *plan)
{
    json_t *root = json_object();
    json_object_set_new(root, "schema", json_string("shoal.dev/plan/v1alpha1"));
    json_object_set_new(root, "possible", json_boolean(plan->possible));
    json_object_set_new(root, "stack",
                        plan->possible ? json_string(cni_stack_name(plan->stack)) : json_null());
    json_object_set_new(root, "isolation",
                        plan->possible ? json_string(plan->exclusive ? "exclusive" : "shared")
                                       : json_null());
    json_object_set_new(root, "rails", rails_json(plan));
    for (size_t i = 0; i < SECTIONS; i++) {
        json_t *list = json_array();
        for (const struct cni_plan_note *note = plan->notes; note; note = note->next)
            if (note->kind == sections[i].kind)
                json_array_append_new(list, json_pack("{s:o, s:o}", "subject",
                                                      text_or_null(note->subject), "text",
                                                      text_or_null(note->text)));
        json_object_set_new(root, sections[i].key, list);
    }
    return root;
}
