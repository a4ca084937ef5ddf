// page.c - assembles the page: one file, without scripts or external resources.

#include "report/page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/home.h"
#include "report/html.h"

enum { CSS_MAX = 1 << 20 };

// Appends gnuplot's SVG from its root element on. Names that all pictures share would clash in one document, so the
// picture's number is added to each.
static void inline_svg(struct str *out, const char *svg, size_t number)
{
    static const char *const names[] = {"gpPt", "gpDot", "gnuplot_canvas", "textbox", "greybox"};
    const char *p = strstr(svg, "<svg");
    while (p && *p) {
        const char *next = NULL;
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            const char *found = strstr(p, names[i]);
            if (found && (!next || found < next))
                next = found;
        }
        // Only if the name begins an id or a reference to one; labels are text and follow '>'.
        if (next == NULL) {
            str_append(out, p);
            break;
        }
        str_append_bytes(out, p, (size_t)(next - p));
        if (next[-1] == '\'' || next[-1] == '"' || next[-1] == '#')
            str_printf(out, "p%zu", number);
        str_append_bytes(out, next, 1);
        p = next + 1;
    }
}

static void figure(struct str *out, const struct picture *p, size_t number)
{
    str_append(out, "<figure><figcaption>");
    html_text(out, p->title);
    str_append(out, "</figcaption><div class=picture role=img aria-label=\"");
    html_text(out, p->title);
    str_append(out, ". ");
    html_text(out, p->alt);
    str_append(out, "\">");
    inline_svg(out, p->svg, number);
    str_append(out, "</div></figure>");
}

// Appends the pictures of one script, or a sentence if there are none. tabled: a table of this section has the same
// content.
static void pictures_of(struct str *out, const struct pictures *pictures, const char *script,
                        bool tabled)
{
    size_t shown = 0;
    for (size_t i = 0; i < pictures->count; i++) {
        const struct picture *p = &pictures->row[i];
        if (p->svg == NULL || !str_equal(p->script, script))
            continue;
        if (shown++ == 0)
            str_append(out, "<div class=pictures>");
        figure(out, p, i + 1);
    }
    str_append(out, shown    ? "</div>"
                    : tabled ? "<p class=none>No picture; the tables have the figures.</p>"
                             : "<p class=none>No picture: nothing was measured for one.</p>");
}

static void missing_pictures(struct str *out, const struct pictures *pictures, bool tabled)
{
    if (pictures->failure.code != OK) {
        str_append(out, "<p class=note>Pictures are missing: ");
        html_text(out, pictures->failure.message);
        str_append(out, tabled ? ". The tables below have every figure.</p>" : ".</p>");
    }
    for (size_t i = 0; i < pictures->absent_count; i++) {
        str_append(out, i ? "<br>" : "<p class=soft>");
        html_textf(out, "Not drawn, because %s: %s.", pictures->absent[i].reason,
                   pictures->absent[i].what);
    }
    if (pictures->absent_count)
        str_append(out, "</p>");
}

enum status page_css(char **css, struct error *err)
{
    size_t size = 0;
    char *path = home_find("report/page.css");
    if (path == NULL)
        return FAIL(err, ERR_IO, "report/page.css is not among the program's files");
    enum status status = file_read(path, CSS_MAX, css, &size, err);
    free(path);
    return status;
}

void page_head(struct str *out, const char *title, const char *css)
{
    str_append(out, "<!doctype html>\n<html lang=en><head><meta charset=utf-8>"
                    "<meta name=viewport content=\"width=device-width, initial-scale=1\">"
                    "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; "
                    "style-src 'unsafe-inline'\"><title>");
    html_text(out, title);
    str_append(out, "</title><style>\n");
    str_append(out, css);
    str_append(out, "</style></head><body><main>\n");
}

void page_write(struct str *out, const struct report_data *data, const struct pictures *pictures,
                const char *css)
{
    struct str title = {0};
    bool measured = false;
    for (size_t i = 0; i < data->cell_count; i++)
        measured |= query_cell_measured(&data->cells[i]);
    str_printf(&title, "%s, run %lld", data->run.suite_name, (long long)data->run.id);
    page_head(out, str_text(&title), css);
    out->failed |= title.failed;
    str_fini(&title);
    page_verdict(out, data);
    str_append(out, "<nav><a href=\"#speed\">Speed</a><a href=\"#roofline\">Roofline</a><a "
                    "href=\"#memory\">Memory</a><a href=\"#quality\">Quality</a><a "
                    "href=\"#bounds\">Limits</a><a href=\"#cells\">All cells</a><a "
                    "href=\"#failed\">Failed</a><a href=\"#noise\">Noise</a><a "
                    "href=\"#machine\">Machine</a><a href=\"#again\">Run it again</a><a "
                    "href=\"#glossary\">Glossary</a></nav>\n");
    str_append(out, "<h2 id=speed>Speed</h2>");
    missing_pictures(out, pictures, measured);
    pictures_of(out, pictures, "lines.gp", measured);
    str_append(out, "\n<h2 id=roofline>Roofline</h2><p>Lines are ");
    page_term(out, "ceiling", "ceilings");
    str_append(out,
               ", the best measured rates of this machine; points are the rates of the cells. A "
               "slanted line is a limit of memory, a flat one of arithmetic.</p>");
    pictures_of(out, pictures, "roofline.gp", data->ceiling_count > 0);
    page_ceilings(out, data);
    str_append(out, "\n<h2 id=memory>Memory</h2>");
    pictures_of(out, pictures, "memory.gp", measured);
    page_memory(out, data);
    page_energy(out, data);
    str_append(out, "\n<h2 id=quality>Quality</h2>");
    if (data->quality_count)
        pictures_of(out, pictures, "pareto.gp", true);
    page_quality(out, data);
    str_append(out, "\n");
    page_bounds(out, data);
    page_counted(out, data);
    str_append(out, "\n");
    page_cells(out, data);
    str_append(out, "\n");
    page_failures(out, data);
    str_append(out, "\n");
    page_noise(out, data);
    page_machine(out, data);
    page_reproduce(out, data);
    page_glossary(out);
    str_append(out, "</main></body></html>\n");
}
