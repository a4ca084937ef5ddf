// gguf.h - a GGUF file: its parser, and the parsed form that the files of this folder read parts of.
#ifndef ENGINE_LOAD_GGUF_GGUF_H
#define ENGINE_LOAD_GGUF_GGUF_H

#include "engine/load/tensors.h"
#include "engine/model/arch.h"

// Value types of the format.
enum {
    GGUF_U8,
    GGUF_I8,
    GGUF_U16,
    GGUF_I16,
    GGUF_U32,
    GGUF_I32,
    GGUF_F32,
    GGUF_BOOL,
    GGUF_STRING,
    GGUF_ARRAY,
    GGUF_U64,
    GGUF_I64,
    GGUF_F64
};

struct gguf_text { // borrowed from the file, not NUL-terminated
    const char *text;
    size_t bytes;
};

struct gguf_entry {
    struct gguf_text key;
    uint32_t type;     // of the value
    uint32_t element;  // arrays: type of each element,
    uint64_t count;    // and how many
    size_t first;      // where the value, or the first element, lies in the file
    size_t begin, end; // all that stands after the type: an array's head too
};

// One tensor's description in the file.
struct gguf_info {
    char *name; // NUL-terminated, owned
    uint64_t dims[4], offset, bytes;
    uint32_t dim_count, type_number;
    const struct stored_type *type; // NULL: not one of ours, and bytes are not known
    const unsigned char *data;
};

struct gguf_infos {
    struct gguf_info *at; // by name
    size_t count;
};

struct gguf {
    char *name; // of the file
    const unsigned char *data;
    struct gguf_entry *entries;
    size_t entry_count;
    char arch[32];
    const struct arch *row;
    uint32_t alignment;
    size_t data_bytes;     // behind the descriptions
    struct gguf_infos all; // as the file describes them, those of joined parts too
    struct gguf *parts;    // owned: the last one joined, whose own `parts` is the one before
    struct model_config config;
    struct tensor_names names; // this file's
    struct tensor_map tensors;
};

enum { NAME_MAX_BYTES = 65535 }; // of keys and tensors, as the format says

// A place in the file. Taking beyond the end is ERR_FORMAT; *out is set only on success.
struct gguf_cursor {
    const char *file;
    const unsigned char *data;
    size_t at, end;
};
enum status gguf_take(struct gguf_cursor *c, size_t bytes, const unsigned char **out,
                      struct error *err);
enum status gguf_take_u32(struct gguf_cursor *c, uint32_t *out, struct error *err);
enum status gguf_take_u64(struct gguf_cursor *c, uint64_t *out, struct error *err);
enum status gguf_take_string(struct gguf_cursor *c, struct gguf_text *out, struct error *err);

// The head of a file: how many tensors and metadata keys follow.
enum status gguf_read_head(struct gguf_cursor *c, uint64_t *tensors, uint64_t *entries,
                           struct error *err);
// Reads `count` keys at the cursor into gguf->entries.
enum status gguf_read_entries(struct gguf *gguf, struct gguf_cursor *c, uint64_t count,
                              struct error *err);

// Head, metadata and tensor descriptions of a file in memory, which must outlive *out: every tensor's data
// lies inside it. Knows no architecture.
enum status gguf_begin(const char *name, const unsigned char *data, size_t bytes, struct gguf **out,
                       struct error *err);
const struct gguf_info *gguf_find_info(const struct gguf *gguf, const char *name); // NULL: none

// Of a model cut into several files: which part this file is (from 0) and how many there are; 0 and 1 for a
// whole one. Errors: ERR_FORMAT.
enum status gguf_split(const struct gguf *gguf, int *part, int *parts, struct error *err);
// Takes the tensors of another part, which then belongs to g, also after an error (a name that stands twice).
enum status gguf_join(struct gguf *g, struct gguf *part, struct error *err);
// The architecture and every tensor in its place; all parts are joined.
enum status gguf_finish(struct gguf *g, struct error *err);

// A file and, where it is the first part of several, the others beside it, described and joined but not
// finished. Zeroed or closed: gguf_files_close is legal.
struct gguf_files {
    struct file_map *maps;
    int count;
    struct gguf *gguf;
};
enum status gguf_files_open(const char *path, struct gguf_files *out, struct error *err);
void gguf_files_close(struct gguf_files *files);

// All of the above for one file in memory; `data` must outlive *out.
enum status gguf_parse(const char *name, const unsigned char *data, size_t bytes, struct gguf **out,
                       struct error *err);
void gguf_free(struct gguf *gguf);
const struct model_config *gguf_config(const struct gguf *gguf);
const struct tensor_map *gguf_tensors(const struct gguf *gguf);

// The description by the metadata and by what the tensors tell (config.c), and the file's names.
enum status gguf_read_config(struct gguf *gguf, struct error *err);

// The names llama.cpp's converter gives the tensors of a description's architecture (names.c).
void gguf_names(const struct model_config *config, struct tensor_names *out);
// The same for this file, which an older converter may have written.
void gguf_names_of(const struct gguf *gguf, struct tensor_names *out);

// Metadata. Every position was checked when the file was parsed.
const struct gguf_entry *gguf_find(const struct gguf *gguf, const char *key); // NULL: no such key
bool gguf_string(const struct gguf *gguf, const char *key, struct gguf_text *out);
size_t gguf_next_string(const struct gguf *gguf, size_t at, struct gguf_text *out); // of an array
bool gguf_is_integer(uint32_t type);
int64_t gguf_integer_at(const struct gguf *gguf, uint32_t type, size_t at);

// tokenizer.c: the tokenizer in the metadata, of which nothing else is looked at; by path, or in memory.
enum status gguf_tokenizer(const struct gguf *gguf, struct tokenizer **out, struct error *err);
enum status gguf_tokenizer_open(const char *path, struct tokenizer **out, struct error *err);
enum status gguf_tokenizer_parse(const char *name, const unsigned char *data, size_t bytes,
                                 struct tokenizer **out, struct error *err);

#endif
