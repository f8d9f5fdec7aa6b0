/*
 * The nearest of a list of names, for "did you mean".
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef SHL_CORE_SUGGEST_H
#define SHL_CORE_SUGGEST_H

/*
 * shl_suggest - the name of a NULL-terminated list that is nearest to `word`, or NULL when none is
 * near enough to be what was meant. Ignores case. The first of equals wins.
 * Threads  any
 */
const char *shl_suggest(const char *word, const char *const *names);

#endif
