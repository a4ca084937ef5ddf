// inspect.c - checkpoint_inspect: what a checkpoint needs, and whether it is supported.
//
// Opening a checkpoint stops at the first unsupported property. A person who picks a model wants to see all of them, so
// each one is checked separately, with the same parsers.
#include "engine/load/inspect.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "engine/text/tokenizer.h"

void inspect_add(struct inspection *list, const char *area, const char *found, enum status status,
                 const struct error *err, const char *note)
{
    if (list->count == list->max)
        return;
    struct checkpoint_item *item = &list->items[list->count++];
    *item = (struct checkpoint_item){.area = area, .supported = status == OK};
    snprintf(item->found, sizeof item->found, "%.127s", found);
    snprintf(item->note, sizeof item->note, "%.255s",
             status != OK ? err->message
             : note       ? note
                          : "");
    str_plain(item->found);
    str_plain(item->note);
}

void inspect_type_count(struct type_counts *counts, const char *name, bool supported)
{
    int i = 0, most = sizeof counts->row / sizeof *counts->row;
    while (i < counts->count && strcmp(counts->row[i].name, name) != 0)
        i++;
    if (i == most)
        return; // no real file mixes this many
    if (i == counts->count) {
        snprintf(counts->row[i].name, sizeof counts->row[i].name, "%s", name);
        counts->row[i].supported = supported;
        counts->count++;
    }
    counts->row[i].tensors++;
}

void inspect_types(struct inspection *list, const struct type_counts *counts)
{
    struct str text = {0}, refused = {0};
    for (int i = 0; i < counts->count; i++) {
        str_printf(&text, "%s%s (%d)", i ? ", " : "", counts->row[i].name, counts->row[i].tensors);
        if (!counts->row[i].supported)
            str_printf(&refused, "%s%s", refused.length ? ", " : "", counts->row[i].name);
    }
    struct error err = {0};
    if (refused.length)
        FAIL(&err, ERR_UNSUPPORTED, "tensors of %s are not read", str_text(&refused));
    if (counts->count)
        inspect_add(list, "stored types", str_text(&text), err.code, &err, NULL);
    str_fini(&text);
    str_fini(&refused);
}

// Checks the tokenizer against the model. An unreadable one already has an item of its own.
static void inspect_vocabulary(const struct checkpoint *ck, struct inspection *list)
{
    struct tokenizer *tok = NULL;
    struct error err = {0};
    struct str beyond = {0};
    enum status status = checkpoint_tokenizer(ck, &tok, &err);
    if (tok)
        tokenizer_beyond(tok, &beyond);
    if (beyond.length)
        str_append(&beyond, ": beyond the model's ids, a text that holds it is refused");
    if (tok || status == ERR_FORMAT)
        inspect_add(list, "vocabulary",
                    status != OK    ? "does not fit"
                    : beyond.length ? "fits but for added tokens"
                                    : "fits",
                    status, &err, beyond.length ? str_text(&beyond) : NULL);
    str_fini(&beyond);
    tokenizer_destroy(tok);
}

// Opens the whole checkpoint, and reports an error that no check above found.
static void inspect_opening(const char *path, struct inspection *list)
{
    struct checkpoint *ck = NULL;
    struct error err = {0};
    struct str found = {0};
    enum status status = checkpoint_open(path, &ck, &err);
    if (status == OK) {
        inspect_vocabulary(ck, list);
        const char *unused = checkpoint_unused_tensors(ck);
        size_t count = 0;
        for (const char *at = unused; (at = strchr(at, '\n')); at++)
            count++;
        if (count)
            str_printf(&found, "%zu not used", count);
        else
            str_append(&found, "all used");
        inspect_add(list, "tensors", str_text(&found), OK, &err, NULL);
    }
    for (const char *at = ck ? ck->remarks : NULL, *end; at && (end = strchr(at, '\n'));
         at = end + 1) {
        char line[384], *colon;
        snprintf(line, sizeof line, "%.*s", (int)(end - at < 383 ? end - at : 383), at);
        if ((colon = strstr(line, ": ")) != NULL)
            *colon = '\0';
        inspect_add(list, "remark", line, OK, &err, colon ? colon + 2 : NULL);
    }
    inspect_add(list, "loading", status == OK ? "yes" : "no", status, &err, NULL);
    str_fini(&found);
    checkpoint_destroy(ck);
}

size_t checkpoint_inspect(const char *path, struct checkpoint_item *out, size_t max)
{
    struct inspection list = {.items = out, .max = max};
    if (file_is_dir(path))
        hf_inspect(path, &list);
    else
        gguf_inspect(path, &list);
    inspect_opening(path, &list);
    return list.count;
}
