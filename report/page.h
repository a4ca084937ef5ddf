// page.h - the parts of the page, in their order on it.
#ifndef REPORT_PAGE_H
#define REPORT_PAGE_H

#include "base/str.h"
#include "report/data.h"
#include "report/pictures.h"

// verdict.c: the title, what this machine achieved, what limits it, what failed.
void page_verdict(struct str *out, const struct report_data *data);
// A verdict in a few words: "inefficient 5 % of what memory allows", "memory 88 % of the roof". NULL: nothing.
void page_limit(struct str *out, const struct verdict_row *v);
// Only the word of the verdict.
const char *page_limit_word(const struct verdict_row *v);
// A paragraph on what limits a phase of a cell: "<name> is limited by memory: it reaches ...". Appends nothing for NULL
// or a cell without a verdict.
void page_phase_limit(struct str *out, const struct report_data *data, const struct cell_row *cell,
                      const char *phase, const char *name);
// "AMD EPYC, 2 cores, 24 GiB, virtual machine (kvm)".
void page_machine_words(struct str *out, const struct report_data *data);

// tables.c
void page_bounds(struct str *out, const struct report_data *data);
void page_cells(struct str *out, const struct report_data *data);
void page_failures(struct str *out, const struct report_data *data);
void page_ceilings(struct str *out, const struct report_data *data);
void page_memory(struct str *out, const struct report_data *data);
// A head that begins with '>' belongs to a column of numbers. "TTFT#ttft" links to that entry of the glossary. NULL
// ends the list.
void page_table_head(struct str *out, const char *const *heads);
void page_table_end(struct str *out);

// energy.c: appends nothing if no cell has energy.
void page_energy(struct str *out, const struct report_data *data);

// counted.c: bytes that memory controllers counted next to the analytic ones; or why there are none, and what would
// count them.
void page_counted(struct str *out, const struct report_data *data);

// quality.c: the table of evaluations, and a cell's perplexity next to its speed.
void page_quality(struct str *out, const struct report_data *data);
void page_quality_column(struct str *out, const struct report_data *data,
                         const struct cell_row *cell);

// about.c
void page_noise(struct str *out, const struct report_data *data);
void page_machine(struct str *out, const struct report_data *data);
void page_reproduce(struct str *out, const struct report_data *data);

// glossary.c: appends `text` (HTML) as a link to an entry of the glossary, unless the page already links to that entry.
void page_term(struct str *out, const char *id, const char *text);
// Appends the entries that the page links to so far, and those that they link to. Comes last.
void page_glossary(struct str *out);

// page.c: from the doctype to the begin of <main>.
void page_head(struct str *out, const char *title, const char *css);
// page.c: the text of page.css. Caller frees. Errors: ERR_IO if it is not among the program's files.
enum status page_css(char **css, struct error *err);
// page.c: the whole document. css is inlined; pictures that were not drawn are named with the reason.
void page_write(struct str *out, const struct report_data *data, const struct pictures *pictures,
                const char *css);

#endif
