// glossary.c - links terms of the page to the glossary at its end.
//
// The entries are docs/GLOSSARY.md, converted by tools/glossary.sh when the program is built. The page itself records
// what is linked: a term becomes a link unless the page already links to it.

#include <stdio.h>
#include <string.h>

#include "report/html.h"
#include "report/page.h"

#include "glossary.h"

enum { ENTRIES = sizeof entries / sizeof entries[0] };

static bool links_to(const char *html, const char *id)
{
    char link[96];
    snprintf(link, sizeof link, "href=\"#term-%s\"", id);
    return strstr(html, link) != NULL;
}

void page_term(struct str *out, const char *id, const char *text)
{
    if (links_to(str_text(out), id))
        str_append(out, text);
    else
        str_printf(out, "<a class=term href=\"#term-%s\">%s</a>", id, text);
}

// Marks the entries that `html` links to, and those that their own texts link to.
static void collect(const char *html, bool *used)
{
    for (size_t i = 0; i < ENTRIES; i++)
        if (!used[i] && links_to(html, entries[i].id)) {
            used[i] = true;
            collect(entries[i].meaning, used);
        }
}

void page_glossary(struct str *out)
{
    bool used[ENTRIES] = {false};
    collect(str_text(out), used);
    str_append(out,
               "<h2 id=glossary>Glossary</h2><details class=glossary><summary>The terms of this "
               "page</summary><dl>");
    for (size_t i = 0; i < ENTRIES; i++)
        if (used[i])
            str_printf(out, "<dt id=\"term-%s\">%s</dt><dd>%s</dd>\n", entries[i].id,
                       entries[i].term, entries[i].meaning);
    str_append(out, "</dl></details><p class=soft>docs/METRICS.md has every definition with its "
                    "formula and source; docs/GLOSSARY.md has all terms.</p>");
}
