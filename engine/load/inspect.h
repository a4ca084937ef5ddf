// inspect.h - the list of what a checkpoint needs, shared by the formats' inspectors.
#ifndef ENGINE_LOAD_INSPECT_H
#define ENGINE_LOAD_INSPECT_H

#include "engine/load/source.h"

// The list under construction. Items beyond `max` are dropped.
struct inspection {
    struct checkpoint_item *items;
    size_t count, max;
};

// Adds one item. status OK: supported, with `note` (may be NULL); else the error's message is the note.
void inspect_add(struct inspection *list, const char *area, const char *found, enum status status,
                 const struct error *err, const char *note);

// Stored types with their numbers of tensors: "BF16 (291), F32 (2)".
struct type_counts {
    struct {
        char name[24];
        int tensors;
        bool supported;
    } row[16];
    int count;
};
void inspect_type_count(struct type_counts *counts, const char *name, bool supported);
void inspect_types(struct inspection *list, const struct type_counts *counts);

// A Hugging Face folder; a GGUF file.
void hf_inspect(const char *dir, struct inspection *list);
void gguf_inspect(const char *path, struct inspection *list);

#endif
