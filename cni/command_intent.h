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
    "times\n"                                                                                      \
    "  -q, --quiet          on standard error nothing but errors\n"                                \
    "      --color WHEN     auto (default), always, never\n"

struct cni_intent_request {
    struct cni_findings findings;
    struct cni_document *intents, *nodes;
    struct cni_intent intent;
    struct cni_plan plan;
    enum cni_format format;
    bool quiet, colour;       /* of what goes to standard error */
    const char *const *paths; /* manifests, ended by NULL */
    const char *file;         /* of -f, or NULL */
};

struct cni_intent_command {
    const char *usage;
    unsigned formats;       /* bits; 0: that of the file */
    enum cni_format format; /* the default */
    bool takes_paths;       /* arguments, and -f */
    int (*run)(struct cni_intent_request *request);
};

/* cni_intent_command - parse options, read, make the plan and run; the exit status. Findings about
 * the intent go to standard error. */
int cni_intent_command(int argc, char **argv, const struct cni_intent_command *command);

/* cni_intent_report - findings on standard error; with --quiet only errors. */
void cni_intent_report(const struct cni_intent_request *request, struct cni_findings *findings);

/* cni_intent_objects - generated objects as documents, after our own rules found nothing wrong with
 * them; NULL after a complaint. */
struct cni_document *cni_intent_objects(struct cni_intent_request *request, const json_t *objects);

#endif
