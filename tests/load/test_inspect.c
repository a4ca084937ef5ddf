// test_inspect.c - what checkpoint_inspect says of good and of bad checkpoints: one fault hides no other.
#include "tests/load/load_fixture.h"

enum { ITEMS = 16 };

struct looked {
    struct checkpoint_item items[ITEMS];
    size_t count;
};

static struct looked look(const char *path)
{
    struct looked l;
    l.count = checkpoint_inspect(path, l.items, ITEMS);
    assert_in_range(l.count, 2, ITEMS - 1);
    assert_string_equal(l.items[l.count - 1].area, "loading");
    for (size_t i = 0; i < l.count; i++)
        assert_true(l.items[i].supported || l.items[i].note[0]); // a no says why
    return l;
}

static const struct checkpoint_item *item(const struct looked *l, const char *area)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->items[i].area, area) == 0)
            return &l->items[i];
    fail_msg("nothing is said of the %s", area);
    return NULL;
}

static void expect(const struct looked *l, const char *area, bool supported, const char *found,
                   const char *note)
{
    const struct checkpoint_item *i = item(l, area);
    if (i->supported != supported || !strstr(i->found, found) || !strstr(i->note, note))
        fail_msg("%s: %d '%s' '%s', wanted %d '%s' '%s'", area, i->supported, i->found, i->note,
                 supported, found, note);
}

// config.json of a golden model with some words replaced, next to its weights.
static const char *changed(const char *model, const char *const *from, const char *const *to)
{
    const char *dir = scratch_make();
    char path[256];
    size_t count;
    snprintf(path, sizeof path, MODELS "%s", model);
    copy(path, "model.safetensors", dir);
    snprintf(path, sizeof path, MODELS "%s/config.json", model);
    char *text = slurp(path, &count);
    struct str out = {0};
    const char *at = text;
    for (; *from; from++, to++) {
        const char *hit = strstr(at, *from);
        assert_non_null(hit);
        str_append_bytes(&out, at, (size_t)(hit - at));
        str_append(&out, *to);
        at = hit + strlen(*from);
    }
    str_append(&out, at);
    put(dir, "config.json", str_text(&out), out.length);
    str_fini(&out);
    free(text);
    return dir;
}

static void good(void **state)
{
    (void)state;
    struct looked folder = look(MODELS "mixtral"), file = look(MODELS "llama-llama3/model.gguf");
    expect(&folder, "architecture", true, "mixtral", "");
    expect(&folder, "stored types", true, "BF16", "");
    expect(&folder, "quantization", true, "none", "");
    expect(&folder, "tokenizer", false, "none", "tokenizer.json");
    expect(&folder, "loading", true, "yes", "");
    expect(&file, "architecture", true, "llama", "");
    expect(&file, "tokenizer", true, "gpt2", "");
    expect(&file, "loading", true, "yes", "");
}

static void unknown_architecture(void **state)
{
    (void)state;
    const char *dir =
        changed("llama-linear", (const char *const[]){"\"model_type\": \"llama\"", NULL},
                (const char *const[]){"\"model_type\": \"gptj\"", NULL});
    struct looked l = look(dir);
    expect(&l, "architecture", false, "gptj", "mixtral");
    expect(&l, "stored types", true, "F16", "");
    expect(&l, "weights", true, "1 safetensors", "");
    expect(&l, "loading", false, "no", "gptj");
    scratch_remove(dir);
}

static void two_faults(void **state)
{
    (void)state;
    const char *dir = changed("llama-linear", (const char *const[]){"silu", "linear", NULL},
                              (const char *const[]){"mish", "dynamic", NULL});
    struct looked l = look(dir);
    expect(&l, "rope scaling", false, "dynamic", "yarn");
    expect(&l, "description", false, "", "mish");
    expect(&l, "loading", false, "no", "mish");
    scratch_remove(dir);
}

static void quantization_not_known(void **state)
{
    (void)state;
    static const char quant[] = "\"quantization_config\": {\"quant_method\": \"hqq\"},\n  "
                                "\"model_type\": \"llama\"";
    const char *dir =
        changed("llama-linear", (const char *const[]){"\"model_type\": \"llama\"", NULL},
                (const char *const[]){quant, NULL});
    struct looked l = look(dir);
    expect(&l, "quantization", false, "hqq", "hqq");
    expect(&l, "description", true, "", "");
    expect(&l, "loading", false, "no", "hqq");
    scratch_remove(dir);
}

static void lacking_shard(void **state)
{
    (void)state;
    static const char *const there[] = {
        "config.json", "model.safetensors.index.json", "model-00001-of-00004.safetensors",
        "model-00003-of-00004.safetensors", "model-00004-of-00004.safetensors"};
    const char *dir = scratch_make();
    for (size_t i = 0; i < sizeof there / sizeof *there; i++)
        copy(MODELS "qwen2-sharded", there[i], dir);
    struct looked l = look(dir);
    expect(&l, "weights", false, "4 safetensors", "model-00002-of-00004.safetensors");
    expect(&l, "architecture", true, "qwen2", "");
    expect(&l, "loading", false, "no", "model-00002-of-00004.safetensors");
    scratch_remove(dir);
}

// The tokenizer of another model is named, and so is what was decided about the head.
static void what_does_not_fit(void **state)
{
    (void)state;
    const char *dir = scratch_make();
    copy(MODELS "qwen2-own-head", "config.json", dir);
    copy(MODELS "qwen2-own-head", "model.safetensors", dir);
    copy("models/reference", "tokenizer.json", dir);
    struct looked l = look(dir);
    expect(&l, "tokenizer", true, "BPE", "");
    expect(&l, "vocabulary", false, "does not fit", "of another model");
    expect(&l, "remark", true, "lm_head.weight counts", "config.json ties it");
    expect(&l, "loading", true, "yes", "");
    scratch_remove(dir);
}

static void other_weights(void **state)
{
    (void)state;
    const char *dir = scratch_make();
    copy(MODELS "llama-linear", "config.json", dir);
    put(dir, "pytorch_model.bin", "x", 1);
    struct looked l = look(dir);
    expect(&l, "loading", false, "no", "pytorch_model.bin, which is not read; save it");
    scratch_remove(dir);
}

static void no_file_of_ours(void **state)
{
    (void)state;
    const char *dir = scratch_make();
    char path[128];
    snprintf(path, sizeof path, "%s/m.gguf", dir);
    put(dir, "m.gguf", "not a model", 11);
    struct looked file = look(path), empty = look(dir);
    expect(&file, "file", false, "", "GGUF");
    expect(&empty, "config.json", false, "", "config.json");
    expect(&empty, "weights", false, "", "model.safetensors");
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good),
        cmocka_unit_test(unknown_architecture),
        cmocka_unit_test(two_faults),
        cmocka_unit_test(quantization_not_known),
        cmocka_unit_test(lacking_shard),
        cmocka_unit_test(no_file_of_ours),
        cmocka_unit_test(what_does_not_fit),
        cmocka_unit_test(other_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
