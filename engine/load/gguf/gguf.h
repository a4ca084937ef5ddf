// gguf.h - a GGUF file: its parser and its parsed form, shared by the files of this folder.
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
    size_t first;      // position of the value, or of the first element, in the file
    size_t begin, end; // everything after the type, including an array's head
};

// One tensor's description in the file.
struct gguf_info {
    char *name; // NUL-terminated, owned
    uint64_t dims[4], offset, bytes;
    uint32_t dim_count, type_number;
    const struct stored_type *type; // NULL: unknown, and so is its size
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
    size_t data_bytes;     // after the descriptions
    struct gguf_infos all; // descriptions of this file and of joined parts
    struct gguf *parts;    // owned: the part joined last; its own `parts` is the one before
    struct model_config config;
    struct tensor_names names; // this file's
    struct tensor_map tensors;
};

enum { NAME_MAX_BYTES = 65535 }; // of keys and tensors, the format's limit

#define GGUF_CUT " (truncated, or damaged)"

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

// Reads the head of a file: the numbers of tensors and of metadata keys.
enum status gguf_read_head(struct gguf_cursor *c, uint64_t *tensors, uint64_t *entries,
                           struct error *err);
// Reads `count` keys from the cursor into gguf->entries.
enum status gguf_read_entries(struct gguf *gguf, struct gguf_cursor *c, uint64_t count,
                              struct error *err);

// Parses head, metadata and tensor descriptions of a file in memory, which must outlive *out. Each tensor's data lies
// inside it. Knows no architecture.
enum status gguf_begin(const char *name, const unsigned char *data, size_t bytes, struct gguf **out,
                       struct error *err);
const struct gguf_info *gguf_find_info(const struct gguf *gguf, const char *name); // NULL: none

// For a model in several files: the number of this part (from 0) and of all parts; 0 and 1 for a single file. Errors:
// ERR_FORMAT.
enum status gguf_split(const struct gguf *gguf, int *part, int *parts, struct error *err);
// Takes the tensors of another part. The part then belongs to g, also after an error (a name in both).
enum status gguf_join(struct gguf *g, struct gguf *part, struct error *err);
// Reads the architecture and puts each tensor in its slot. Requires: all parts are joined.
enum status gguf_finish(struct gguf *g, struct error *err);

// A file and, if it is the first of several parts, the parts next to it. They are parsed and joined, not finished.
// gguf_files_close is legal on a zeroed or closed struct.
struct gguf_files {
    struct file_map *maps;
    int count;
    struct gguf *gguf;
};
enum status gguf_files_open(const char *path, struct gguf_files *out, struct error *err);
void gguf_files_close(struct gguf_files *files);

// Tests only, like the two that read its result: all of the above for one file in memory, which must outlive *out.
enum status gguf_parse(const char *name, const unsigned char *data, size_t bytes, struct gguf **out,
                       struct error *err);
const struct model_config *gguf_config(const struct gguf *gguf); // Tests only
const struct tensor_map *gguf_tensors(const struct gguf *gguf);  // Tests only
void gguf_free(struct gguf *gguf);

// Derives the description from the metadata and the tensors (config.c), and the file's names.
enum status gguf_read_config(struct gguf *gguf, struct error *err);

// The names that llama.cpp's converter writes for an architecture's tensors (names.c).
void gguf_names(const struct model_config *config, struct tensor_names *out);
// The same for this file, which may be from an older converter.
void gguf_names_of(const struct gguf *gguf, struct tensor_names *out);

// Metadata. Every position was checked when the file was parsed.
const struct gguf_entry *gguf_find(const struct gguf *gguf, const char *key); // NULL: no such key
bool gguf_string(const struct gguf *gguf, const char *key, struct gguf_text *out);
size_t gguf_next_string(const struct gguf *gguf, size_t at, struct gguf_text *out); // of an array
bool gguf_is_integer(uint32_t type);
int64_t gguf_integer_at(const struct gguf *gguf, uint32_t type, size_t at);

// tokenizer.c: reads the tokenizer alone from the metadata; by path, or in memory.
enum status gguf_tokenizer(const struct gguf *gguf, struct tokenizer **out, struct error *err);
enum status gguf_tokenizer_open(const char *path, struct tokenizer **out, struct error *err);
enum status gguf_tokenizer_parse(const char *name, const unsigned char *data, size_t bytes,
                                 struct tokenizer **out, struct error *err);

#endif
