/*
 * `shoal-cni plan` and `shoal-cni generate`: both make a plan; one explains it, the other writes
 * the objects.
 *
 * Invariant: what `generate` writes has passed our own rules.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#include "command_intent.h"

#include "emit.h"

static const char plan_usage[] =
    "usage: shoal-cni plan [OPTION]...\n"
    "\n"
    "Chooses how pods get at the RDMA devices of these nodes, and prints the choice with its "
    "reasons,\n"
    "what was rejected, where nodes differ, and what has to be done elsewhere.\n"
    "\n" CNI_INTENT_OPTIONS "  -o, --output KIND    text (default), json, yaml\n"
    "  -h, --help           print this\n"
    "\n"
    "Exit status: 0 there is a plan, 2 unreadable input, 3 there is none.\n"
    "\n"
    "Example: shoal-cni plan -i intent.yaml -n node7.json -n node8.json\n";

static const char generate_usage[] =
    "usage: shoal-cni generate [OPTION]...\n"
    "\n"
    "Writes the objects that make the plan: attachments, the policy or device plugin "
    "configuration\n"
    "that offers their devices, and pools of addresses. The same input gives the same bytes, and "
    "what\n"
    "is written passes `shoal-cni validate`.\n"
    "\n" CNI_INTENT_OPTIONS "  -o, --output KIND    yaml (default), json\n"
    "  -h, --help           print this\n"
    "\n"
    "Exit status: 0 written, 2 unreadable input, 3 there is no plan.\n"
    "\n"
    "Example: shoal-cni generate -i intent.yaml -n node7.json > networks.yaml\n";

static int run_plan(struct cni_intent_request *request)
{
    bool yaml = request->format == CNI_FORMAT_YAML;
    bool good = request->format == CNI_FORMAT_TEXT
                    ? cni_plan_text(&request->plan, stdout)
                    : cni_emit_value(cni_plan_json(&request->plan), yaml, stdout);
    if (!good)
        return CNI_EXIT_INTERNAL;
    return request->plan.possible ? CNI_EXIT_CLEAN : CNI_EXIT_ERRORS;
}

static int run_generate(struct cni_intent_request *request)
{
    if (!request->plan.possible) {
        cni_plan_text(&request->plan, stderr);
        return CNI_EXIT_ERRORS;
    }
    json_t *objects = cni_generate(&request->plan);
    bool sound = cni_intent_objects(request, objects) != NULL;
    bool good = sound && (request->format == CNI_FORMAT_JSON ? cni_emit_list(objects, stdout)
                                                             : cni_emit_documents(objects, stdout));
    json_decref(objects);
    return good ? CNI_EXIT_CLEAN : CNI_EXIT_INTERNAL;
}

int cni_command_plan(int argc, char **argv)
{
    return cni_intent_command(argc, argv,
                              &(struct cni_intent_command){.usage = plan_usage,
                                                           .formats = CNI_FORMATS_REPORT,
                                                           .format = CNI_FORMAT_TEXT,
                                                           .run = run_plan});
}

int cni_command_generate(int argc, char **argv)
{
    return cni_intent_command(argc, argv,
                              &(struct cni_intent_command){.usage = generate_usage,
                                                           .formats = CNI_FORMATS_DATA,
                                                           .format = CNI_FORMAT_YAML,
                                                           .run = run_generate});
}
