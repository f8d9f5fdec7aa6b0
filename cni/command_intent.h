/*
 * What the commands share that begin with an intent and inventories: plan, generate, patch.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef CNI_COMMAND_INTENT_H
#define CNI_COMMAND_INTENT_H

#include "commands.h"
#include "plan.h"

#define CNI_INTENT_OPTIONS                                                                         \
    "  -i, --intent FILE    an RdmaIntent (see shoal-cni schema RdmaIntent); without, all is "     \
    "automatic\n"                                                                                  \
    "  -n, --node FILE      an inventory that `shoal-cni inspect` printed; may be given several "  \
    "times\n"

struct cni_intent_request {
    struct cni_findings findings;
    struct cni_document *intents, *nodes;
    struct cni_intent intent;
    struct cni_plan plan;
    const char *output;
    const char *const *paths; /* manifests, ended by NULL */
    const char *file;         /* of -f, or NULL */
};

/* `formats` ends with NULL; the first is the default. */
struct cni_intent_command {
    const char *usage;
    const char *const *formats;
    bool takes_paths; /* arguments, and -f */
    int (*run)(struct cni_intent_request *request);
};

/* cni_intent_command - parse options, read, make the plan and run; the exit status. Findings about
 * the intent go to standard error. */
int cni_intent_command(int argc, char **argv, const struct cni_intent_command *command);

/* cni_intent_objects - generated objects as documents, after our own rules found nothing wrong with
 * them; NULL after a complaint. */
struct cni_document *cni_intent_objects(struct cni_intent_request *request, const json_t *objects);

#endif
