// test_models.c - how a plan reads its models: a large one is announced before it is hashed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/str.h"
#include "bench/suite/plan.h"
#include "bench/suite/suite.h"

static const struct device_info devices[] = {
    {.name = "cpu", .kind = DEVICE_HOST, .available = true}};

static int readings;
static double bytes_read;

static void note_reading(const char *name, double bytes)
{
    assert_string_equal(name, "m");
    readings++;
    bytes_read = bytes;
}

static void write_text(const char *dir, const char *name, const char *text)
{
    char path[128];
    struct error err = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (file_write(path, text, strlen(text), &err) != OK)
        fail_msg("%s", err.message);
}

static void write_config(const char *dir, long rows)
{
    char text[512];
    snprintf(text, sizeof text,
             "{\"model_type\": \"llama\", \"hidden_size\": 64, \"intermediate_size\": 64, "
             "\"num_hidden_layers\": 1, \"num_attention_heads\": 4, \"vocab_size\": %ld, "
             "\"max_position_embeddings\": 128, \"rms_norm_eps\": 1e-5, "
             "\"hidden_act\": \"silu\", \"tie_word_embeddings\": true}",
             rows);
    write_text(dir, "config.json", text);
}

// The weights of one layer, and an embedding of `rows` rows of 64: all zeros, in a sparse file.
static void write_weights(const char *dir, long rows)
{
    static const struct {
        const char *name;
        int rows, cols; // rows 0: as many as the vocabulary; cols 0: a vector
    } tensors[] = {{"embed_tokens", 0, 64},
                   {"norm", 64, 0},
                   {"layers.0.input_layernorm", 64, 0},
                   {"layers.0.post_attention_layernorm", 64, 0},
                   {"layers.0.self_attn.q_proj", 64, 64},
                   {"layers.0.self_attn.k_proj", 64, 64},
                   {"layers.0.self_attn.v_proj", 64, 64},
                   {"layers.0.self_attn.o_proj", 64, 64},
                   {"layers.0.mlp.gate_proj", 64, 64},
                   {"layers.0.mlp.up_proj", 64, 64},
                   {"layers.0.mlp.down_proj", 64, 64}};
    char path[128];
    struct str header = {0};
    long long at = 0;
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
        long height = tensors[i].rows ? tensors[i].rows : rows;
        long long end = at + 2LL * height * (tensors[i].cols ? tensors[i].cols : 1);
        str_printf(&header, "%c\"model.%s.weight\": {\"dtype\": \"BF16\", \"shape\": [%ld",
                   i ? ',' : '{', tensors[i].name, height);
        if (tensors[i].cols)
            str_printf(&header, ", %d", tensors[i].cols);
        str_printf(&header, "], \"data_offsets\": [%lld, %lld]}", at, end);
        at = end;
    }
    str_append(&header, "}");
    while (header.length % 8)
        str_append(&header, " ");
    uint64_t length = header.length;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fwrite(&length, sizeof length, 1, f);
    fwrite(str_text(&header), 1, header.length, f);
    fflush(f);
    assert_int_equal(ftruncate(fileno(f), 8 + (off_t)length + (off_t)at), 0);
    fclose(f);
    str_fini(&header);
}

static void read_models(const char *dir)
{
    char path[128];
    struct plan_machine machine = {.memory_bytes = INT64_C(16) << 30,
                                   .physical_cores = 4,
                                   .devices = devices,
                                   .device_count = 1,
                                   .reading = note_reading};
    struct suite suite;
    struct suite_sources sources = {.suite_path = path};
    struct plan *plan = NULL;
    struct error err = {0};
    snprintf(path, sizeof path, "%s/suite.conf", dir);
    write_text(dir, "suite.conf", "[model m]\npath = .\n[sweep s]\ncontext = 64\ngen = 4\n");
    if (suite_load(&sources, &suite, &err) != OK)
        fail_msg("%s", err.message);
    if (plan_create(&suite, &machine, NULL, &plan, &err) != OK)
        fail_msg("%s", err.message);
    plan_destroy(plan);
    suite_fini(&suite);
}

// Hashing gigabytes takes seconds, so a line comes first. A small model is not worth one.
static void a_large_model_is_announced(void **state)
{
    (void)state;
    static const struct {
        long rows;
        int readings;
    } cases[] = {{4096, 0}, {4L << 20, 1}}; // 512 KiB and 512 MiB
    char dir[] = "/tmp/test_models.XXXXXX";
    struct error err = {0};
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_config(dir, cases[i].rows);
        write_weights(dir, cases[i].rows);
        readings = 0;
        read_models(dir);
        assert_int_equal(readings, cases[i].readings);
    }
    assert_true(bytes_read > (512 << 20) && bytes_read < (513 << 20));
    file_remove_tree(dir, &err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_model_is_announced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
