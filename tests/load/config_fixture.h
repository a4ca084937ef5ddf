// config_fixture.h - a config.json of a small llama, and what becomes of it when fields change.
#ifndef TESTS_LOAD_CONFIG_FIXTURE_H
#define TESTS_LOAD_CONFIG_FIXTURE_H

#include "base/json.h"
#include "tests/load/load_fixture.h"

// The tests change or drop one field of it.
static const char minimal[] =
    "{'model_type':'llama','hidden_size':64,'num_hidden_layers':2,'num_attention_heads':4,"
    "'num_key_value_heads':2,'intermediate_size':96,'vocab_size':100,'max_position_embeddings':"
    "128}";

static inline json_t *parse(const char *text)
{
    struct error err = {0};
    json_t *root = NULL;
    char *copy = strdup(text);
    for (char *p = copy; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    expect_ok(json_parse("test", copy, strlen(copy), &root, &err), &err, copy);
    free(copy);
    return root;
}

// minimal with the fields of `change` over it.
static inline enum status read_changed(const char *change, struct model_config *out,
                                       struct error *err)
{
    json_t *root = parse(minimal), *over = parse(change);
    json_object_update(root, over);
    enum status status = model_config_from_json(root, "x/config.json", out, err);
    json_decref(root);
    json_decref(over);
    return status;
}

static inline struct model_config changed(const char *change)
{
    struct model_config c;
    struct error err = {0};
    expect_ok(read_changed(change, &c, &err), &err, change);
    return c;
}

static inline void refused(const char *change, enum status code, const char *word)
{
    struct model_config c;
    struct error err = {0};
    enum status status = read_changed(change, &c, &err);
    expect_error(status, &err, code, "x/config.json: ", word);
}

#endif
