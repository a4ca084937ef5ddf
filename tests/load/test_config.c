// test_config.c - config.json: both spellings, defaults, what is refused, and the shipped shapes.
#include "tests/load/config_fixture.h"

#include "engine/model/arch.h"

static void defaults(void **state)
{
    (void)state;
    struct model_config c = changed("{}");
    assert_string_equal(c.arch, "llama");
    assert_int_equal(c.head_dim, 16);
    assert_int_equal(c.rotary, 16);
    assert_int_equal(c.kv_heads, 2);
    assert_int_equal(c.window, 0);
    assert_int_equal(c.bos, -1);
    assert_int_equal(c.eos, -1);
    assert_false(c.tied);
    assert_false(c.qkv_bias);
    assert_float_equal(c.norm_eps, 1e-6f, 0);
    assert_float_equal(c.rope_theta, 10000, 0);
    assert_int_equal(c.rope_scaling, ROPE_SCALE_NONE);
    assert_int_equal(changed("{'num_key_value_heads':null}").kv_heads, 4);
    assert_int_equal(changed("{'head_dim':24}").head_dim, 24);
    assert_int_equal(changed("{'head_dim':null}").head_dim, 16);
}

static void tokens(void **state)
{
    (void)state;
    assert_int_equal(changed("{'bos_token_id':7,'eos_token_id':[9,8]}").bos, 7);
    assert_int_equal(changed("{'bos_token_id':7,'eos_token_id':[9,8]}").eos, 9);
    assert_int_equal(changed("{'eos_token_id':null}").eos, -1);
    assert_int_equal(changed("{'eos_token_id':[]}").eos, -1);
    assert_int_equal(changed("{'eos_token_id':99}").eos, 99);
    assert_int_equal(changed("{'eos_token_id':100}").eos, -1); // the vocabulary ends at 99
    refused("{'eos_token_id':'x'}", ERR_FORMAT, "eos_token_id");
    refused("{'bos_token_id':-1}", ERR_FORMAT, "bos_token_id");
}

static void rope(void **state)
{
    (void)state;
    static const char llama3[] =
        "{'%s':{'rope_type':'llama3','rope_theta':500.0,'factor':8.0,'low_freq_factor':1.0,"
        "'high_freq_factor':4.0,'original_max_position_embeddings':64}}";
    static const char *const keys[] = {"rope_parameters", "rope_scaling"};
    for (int i = 0; i < 2; i++) {
        char text[256];
        snprintf(text, sizeof text, llama3, keys[i]);
        struct model_config c = changed(text);
        assert_int_equal(c.rope_scaling, ROPE_SCALE_LLAMA3);
        assert_float_equal(c.rope_theta, 500, 0);
        assert_float_equal(c.rope_factor, 8, 0);
        assert_float_equal(c.rope_high_freq, 4, 0);
        assert_int_equal(c.rope_original_positions, 64);
        assert_false(c.rope_original_assumed);
    }
    char fallback[FALLBACK_BYTES];
    struct model_config bare = changed("{'max_position_embeddings':96,'rope_scaling':{'rope_type':"
                                       "'llama3','factor':8.0,'low_freq_factor':1.0,"
                                       "'high_freq_factor':4.0}}");
    assert_int_equal(bare.rope_original_positions, 96);
    assert_true(bare.rope_original_assumed);
    model_fallback_text(&bare, fallback, sizeof fallback);
    assert_string_equal(fallback,
                        "its llama3 scaling has no original length "
                        "(original_max_position_embeddings): the model's 96 positions are taken");
    bare.rope_original_assumed = false;
    model_fallback_text(&bare, fallback, sizeof fallback);
    assert_string_equal(fallback, "");
    struct model_config c =
        changed("{'rope_theta':1e6,'rope_scaling':{'type':'linear','factor':4}}");
    assert_int_equal(c.rope_scaling, ROPE_SCALE_LINEAR);
    assert_float_equal(c.rope_theta, 1e6f, 0);
    assert_float_equal(c.rope_factor, 4, 0);
    assert_int_equal(changed("{'rope_scaling':{'type':'default'}}").rope_scaling, ROPE_SCALE_NONE);
    refused("{'rope_scaling':{'rope_type':'dynamic','factor':4}}", ERR_UNSUPPORTED, "dynamic");
    refused("{'rope_scaling':{'rope_type':'linear'}}", ERR_FORMAT, "rope_scaling: factor");
    refused("{'rope_scaling':{'rope_type':'linear','factor':0}}", ERR_FORMAT, "factor");
    refused("{'rope_scaling':{'rope_type':'llama3','factor':2}}", ERR_FORMAT, "low_freq_factor");
    refused("{'rope_scaling':7}", ERR_FORMAT, "rope_scaling");
    refused("{'rope_theta':-1}", ERR_FORMAT, "rope_theta");
    refused("{'partial_rotary_factor':0.5}", ERR_UNSUPPORTED, "partial_rotary_factor");
    assert_int_equal(changed("{'model_type':'phi3','partial_rotary_factor':0.5}").rotary, 8);
    assert_int_equal(changed("{'model_type':'phi'}").rotary, 8);
    refused("{'partial_rotary_factor':1.5}", ERR_FORMAT, "partial_rotary_factor");
}

static void windows(void **state)
{
    (void)state;
    assert_int_equal(changed("{'model_type':'mistral','sliding_window':7}").window, 7);
    assert_int_equal(changed("{'model_type':'mistral','sliding_window':null}").window, 0);
    assert_int_equal(changed("{'model_type':'llama','sliding_window':7}").window, 0);
    assert_int_equal(changed("{'model_type':'qwen2','sliding_window':7}").window, 0);
    assert_int_equal(changed("{'model_type':'qwen2','sliding_window':7,'use_sliding_window':true,"
                             "'max_window_layers':0}")
                         .window,
                     7);
    assert_int_equal(changed("{'model_type':'qwen2','sliding_window':7,'use_sliding_window':true,"
                             "'max_window_layers':2}")
                         .window,
                     0);
    struct model_config c = changed("{'model_type':'qwen2','sliding_window':7,"
                                    "'use_sliding_window':true,'max_window_layers':1}");
    assert_int_equal(model_window(&c, 0), 0);
    assert_int_equal(model_window(&c, 1), 7);
    c = changed("{'model_type':'qwen2','sliding_window':7,'use_sliding_window':true,"
                "'layer_types':['sliding_attention','full_attention']}");
    assert_int_equal(model_window(&c, 0), 7);
    assert_int_equal(model_window(&c, 1), 0);
    refused("{'model_type':'qwen2','sliding_window':7,'use_sliding_window':true,"
            "'layer_types':['full_attention']}",
            ERR_FORMAT, "1 of 2 layers");
    refused("{'model_type':'qwen3','layer_types':['full_attention','linear_attention']}",
            ERR_UNSUPPORTED, "layer_types: 1: 'linear_attention'");
    refused("{'model_type':'qwen3','layer_types':[7,'full_attention']}", ERR_UNSUPPORTED,
            "no name");
    refused("{'model_type':'qwen3','layer_types':'full_attention'}", ERR_FORMAT, "not a list");
    assert_true(changed("{'model_type':'qwen2'}").qkv_bias);
}

// What the architectures' own keys come to, by the shapes that are shipped.
static struct model_config shape_of(const char *name)
{
    char path[128];
    struct model_config c;
    struct error err = {0};
    snprintf(path, sizeof path, "models/shapes/%s.json", name);
    expect_ok(model_config_read(path, &c, &err), &err, path);
    return c;
}

static void architectures(void **state)
{
    (void)state;
    struct model_config c = shape_of("phi-2");
    assert_true(c.parallel && c.shared_norm && c.plain_ff && c.head_bias && c.o_bias);
    assert_int_equal(c.norm, NORM_LAYER);
    assert_int_equal(c.rotary, 32);
    assert_float_equal(c.norm_eps, 1e-5f, 0);
    assert_int_equal(c.activation, ACT_GELU_TANH);
    c = shape_of("gemma-2b");
    assert_int_equal(c.activation, ACT_GELU_TANH); // "gelu" in the file
    assert_float_equal(c.embedding_scale, sqrtf(2048), 0);
    assert_true(c.tied);
    assert_int_equal(c.head_dim, 256);
    c = shape_of("gemma-2-9b");
    assert_true(c.post_norms);
    assert_int_equal(model_window(&c, 0), 4096);
    assert_int_equal(model_window(&c, 1), 0);
    assert_float_equal(c.attention_scale, 0.0625f, 0);
    assert_float_equal(c.attention_softcap, 50, 0);
    assert_float_equal(c.logit_softcap, 30, 0);
    c = shape_of("gemma-3-1b");
    assert_int_equal(model_window(&c, 4), 512);
    assert_int_equal(model_window(&c, 5), 0);
    assert_float_equal(c.rope_theta, 1e6f, 0);
    assert_float_equal(c.rope_local_theta, 1e4f, 0);
    c = shape_of("gpt2");
    assert_int_equal(c.learned_positions, 1024);
    assert_int_equal(c.ff, 3072);
    assert_int_equal(c.rope, ROPE_NONE);
    c = shape_of("starcoder");
    assert_int_equal(c.kv_heads, 1);
    assert_int_equal(c.activation, ACT_GELU);
    c = shape_of("falcon-7b");
    assert_int_equal(c.kv_heads, 1);
    assert_true(c.parallel && c.shared_norm && !c.qkv_bias && c.norm_bias);
    c = shape_of("mpt-7b");
    assert_int_equal(c.alibi, ALIBI_MPT);
    assert_false(c.norm_bias);
    c = shape_of("bloom-7b1");
    assert_int_equal(c.alibi, ALIBI_BLOOM);
    assert_true(c.embedding_norm && c.qkv_bias && c.ff_bias);
    c = shape_of("qwen3-8b");
    assert_true(c.qk_norm && !c.qkv_bias);
    assert_int_equal(shape_of("phi-3-mini").window, 2047);
}

#define FALCON "'model_type':'falcon','hidden_size':64,"
#define MPT    "'model_type':'mpt','d_model':64,'n_layers':2,'n_heads':4,'max_seq_len':64,"

static void variants_of_falcon_and_mpt(void **state)
{
    (void)state;
    struct model_config c = changed("{" FALCON "'multi_query':false,'alibi':true,'bias':true,"
                                    "'parallel_attn':false}");
    assert_int_equal(c.kv_heads, 4);
    assert_int_equal(c.alibi, ALIBI_FALCON);
    assert_int_equal(c.rope, ROPE_NONE);
    assert_true(c.qkv_bias && c.ff_bias && !c.parallel);
    c = changed("{" FALCON "'new_decoder_architecture':true,'num_kv_heads':2}");
    assert_true(c.parallel && !c.shared_norm);
    assert_int_equal(c.kv_heads, 2);
    c = changed("{" FALCON "'new_decoder_architecture':true,'num_ln_in_parallel_attn':1}");
    assert_true(c.shared_norm);
    refused("{" FALCON "'new_decoder_architecture':true,'parallel_attn':false}", ERR_UNSUPPORTED,
            "parallel_attn");
    refused("{" FALCON "'num_ln_in_parallel_attn':2}", ERR_UNSUPPORTED, "older decoder");
    c = changed("{" MPT "'attn_config':{'clip_qkv':6,'alibi_bias_max':16,'softmax_scale':0.5}}");
    assert_float_equal(c.clip_qkv, 6, 0);
    assert_float_equal(c.alibi_max, 16, 0);
    assert_float_equal(c.attention_scale, 0.5, 0);
    assert_int_equal(c.ff, 256);
    refused("{" MPT "'attn_config':{'alibi':false}}", ERR_UNSUPPORTED, "attn_config: alibi");
    refused("{" MPT "'attn_config':{'prefix_lm':true}}", ERR_UNSUPPORTED, "prefix_lm");
    refused("{" MPT "'attn_config':{'attn_type':'multiquery_attention'}}", ERR_UNSUPPORTED,
            "multiquery_attention");
    refused("{" MPT "'attn_config':3}", ERR_FORMAT, "attn_config");
    refused("{" MPT "'expansion_ratio':3}", ERR_UNSUPPORTED, "expansion_ratio");
}

static void variants(void **state)
{
    (void)state;
    struct model_config c;
    refused("{'model_type':'phi','qk_layernorm':true}", ERR_UNSUPPORTED, "qk_layernorm");
    refused("{'model_type':'bloom','apply_residual_connection_post_layernorm':true}",
            ERR_UNSUPPORTED, "apply_residual");
    refused("{'model_type':'gpt2','n_embd':64,'n_layer':2,'n_head':4,'n_positions':128,"
            "'scale_attn_by_inverse_layer_idx':true}",
            ERR_UNSUPPORTED, "inverse_layer_idx");
    c = changed("{'model_type':'gemma2','attn_logit_softcapping':null,'head_dim':16}");
    assert_float_equal(c.attention_softcap, 0, 0);
    assert_float_equal(c.logit_softcap, 30, 0);
    c = changed("{'model_type':'gemma3_text','head_dim':16,'rope_parameters':{"
                "'full_attention':{'rope_type':'linear','factor':8,'rope_theta':5e5},"
                "'sliding_attention':{'rope_theta':300}}}");
    assert_float_equal(c.rope_factor, 8, 0);
    assert_float_equal(c.rope_theta, 5e5f, 0);
    assert_float_equal(c.rope_local_theta, 300, 0);
    refused("{'model_type':'gemma3_text','head_dim':16,'rope_parameters':{"
            "'sliding_attention':{'rope_type':'linear','factor':2}}}",
            ERR_UNSUPPORTED, "sliding_attention");
    c = changed("{'model_type':'gemma3_text','head_dim':16,'sliding_window_pattern':2}");
    assert_int_equal(model_window(&c, 0), 4096);
    assert_int_equal(model_window(&c, 1), 0);
    refused("{'model_type':'gemma3_text','head_dim':16,'sliding_window_pattern':0}", ERR_FORMAT,
            "sliding_window_pattern");
    refused("{'model_type':'gemma2','query_pre_attn_scalar':-1}", ERR_FORMAT, "query_pre_attn");
    // longrope: eight pairs a head of 16
    refused("{'model_type':'phi3','rope_scaling':{'type':'su','short_factor':[1],'long_factor':"
            "[1]}}",
            ERR_FORMAT, "short_factor");
    c = changed("{'model_type':'phi3','original_max_position_embeddings':32,'rope_scaling':{"
                "'type':'longrope','short_factor':[1,1,1,1,1,1,1,1],'long_factor':[1,1,1,1,1,1,1,2]"
                "}}");
    assert_int_equal(c.rope_scaling, ROPE_SCALE_LONGROPE);
    assert_int_equal(c.rope_original_positions, 32);
    assert_float_equal(c.rope_attention_factor, sqrt(1 + log(4) / log(32)), 1e-6); // 128 / 32
    refused("{'rope_scaling':{'rope_type':'yarn','factor':4,'beta_slow':-1,"
            "'original_max_position_embeddings':32}}",
            ERR_FORMAT, "beta");
    assert_float_equal(
        changed("{'rope_scaling':{'rope_type':'yarn','factor':4}}").rope_attention_factor,
        0.1 * log(4) + 1, 1e-6);
}

static void fields(void **state)
{
    (void)state;
    static const char *const required[] = {
        "model_type", "hidden_size",       "num_hidden_layers",       "num_attention_heads",
        "vocab_size", "intermediate_size", "max_position_embeddings",
    };
    struct model_config c;
    struct error err = {0};
    for (size_t i = 0; i < sizeof required / sizeof *required; i++) {
        json_t *root = parse(minimal);
        json_object_del(root, required[i]);
        enum status status = model_config_from_json(root, "x/config.json", &c, &err);
        char want[128];
        snprintf(want, sizeof want, "x/config.json: %s: missing", required[i]);
        expect_error(status, &err, ERR_FORMAT, want, want);
        json_decref(root);
    }
    refused("{'model_type':'gptj'}", ERR_UNSUPPORTED,
            "gptj' is not supported (llama, mistral, mixtral, qwen2");
    refused("{'hidden_size':'64'}", ERR_FORMAT, "hidden_size");
    refused("{'hidden_size':63}", ERR_FORMAT, "hidden_size");
    refused("{'hidden_size':0}", ERR_FORMAT, "hidden_size");
    refused("{'hidden_size':1099511627776}", ERR_FORMAT, "hidden_size");
    refused("{'hidden_size':2000000000}", ERR_FORMAT, "width");
    refused("{'num_hidden_layers':2000000000}", ERR_FORMAT, "layers");
    refused("{'vocab_size':2000000000}", ERR_FORMAT, "vocabulary");
    refused("{'num_key_value_heads':3}", ERR_FORMAT, "KV heads");
    refused("{'num_key_value_heads':8}", ERR_FORMAT, "KV heads");
    refused("{'head_dim':15}", ERR_FORMAT, "odd");
    refused("{'head_dim':514}", ERR_FORMAT, "head size");
    refused("{'rms_norm_eps':-1}", ERR_FORMAT, "epsilon");
    refused("{'hidden_act':'mish'}", ERR_UNSUPPORTED, "mish");
    assert_true(changed("{'attention_bias':true}").o_bias);
    assert_true(changed("{'mlp_bias':true}").ff_bias);
    refused("{'mlp_bias':7}", ERR_FORMAT, "mlp_bias");
}

static void names(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{"a/tiny/config.json", "tiny"},
                                           {"tiny//config.json", "tiny"},
                                           {"models/shapes/llama-2-7b.json", "llama-2-7b"},
                                           {"q.gguf", "q"},
                                           {"x/tiny/model.gguf", "tiny"},
                                           {"model.gguf", "model"},
                                           {"a/b/", "b"},
                                           {"config.json", "config"}};
    char name[MODEL_NAME_BYTES];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        model_name_from_path(cases[i][0], name);
        assert_string_equal(name, cases[i][1]);
    }
}

// Parameters as published: a wrong dimension in a shape cannot hide.
static void shapes(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t parameters;
    } published[] = {
        {"llama-2-7b", 6738415616},
        {"llama-2-13b", 13015864320},
        {"llama-2-70b", 68976648192},
        {"llama-3-8b", 8030261248},
        {"llama-3.1-8b", 8030261248},
        {"llama-3.1-70b", 70553706496},
        {"llama-3.2-1b", 1235814400},
        {"llama-3.2-3b", 3212749824},
        {"tinyllama-1.1b", 1100048384},
        {"mistral-7b", 7241732096},
        {"mistral-7b-v0.3", 7248023552},
        {"qwen2.5-0.5b", 494032768},
        {"qwen2.5-1.5b", 1543714304},
        {"qwen2.5-3b", 3085938688},
        {"qwen2.5-7b", 7615616512},
        {"qwen2.5-14b", 14770033664},
        {"qwen2.5-32b", 32763876352},
        {"qwen2.5-72b", 72706203648},
        {"smollm2-135m", 134515008},
        {"smollm2-360m", 361821120},
        {"smollm2-1.7b", 1711376384},
        {"xlam-1b", 1346471936},
        {"deepseek-coder-6.7b", 6740512768},
        {"mixtral-8x7b", 46702792704},
        {"qwen1.5-moe-a2.7b", 14315784192},
        {"yi-6b", 6061035520},
        {"qwen3-8b", 8190735360},
        {"phi-2", 2779683840},
        {"phi-3-mini", 3821079552},
        {"gemma-2b", 2506172416},
        {"gemma-2-9b", 9241705984},
        {"gpt2", 124439808},
        {"gemma-3-1b", 999885952},
        {"starcoder", 15517456384},
        {"falcon-7b", 6921720704},
        {"mpt-7b", 6649286656},
        {"bloom-7b1", 7069016064},
    };
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        char path[128];
        struct model_config c;
        struct error err = {0};
        snprintf(path, sizeof path, "models/shapes/%s.json", published[i].name);
        expect_ok(model_config_read(path, &c, &err), &err, path);
        assert_string_equal(c.name, published[i].name);
        if (model_parameters(&c) != published[i].parameters)
            fail_msg("%s: %llu parameters", path, (unsigned long long)model_parameters(&c));
    }
}

static void files(void **state)
{
    (void)state;
    struct model_config c;
    struct error err = {0};
    const char *dir = scratch_make();
    char path[128];
    snprintf(path, sizeof path, "%s/config.json", dir);
    expect_error(model_config_read(path, &c, &err), &err, ERR_IO, path, "No such file");
    put(dir, "config.json", "", 0);
    expect_error(model_config_read(path, &c, &err), &err, ERR_FORMAT, path, "");
    put(dir, "config.json", "{\"model_type\": ", 15);
    expect_error(model_config_read(path, &c, &err), &err, ERR_FORMAT, path, ":1:");
    put(dir, "config.json", "[]", 2);
    expect_error(model_config_read(path, &c, &err), &err, ERR_FORMAT, path, "object");
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(tokens),
        cmocka_unit_test(rope),
        cmocka_unit_test(windows),
        cmocka_unit_test(architectures),
        cmocka_unit_test(variants),
        cmocka_unit_test(variants_of_falcon_and_mpt),
        cmocka_unit_test(fields),
        cmocka_unit_test(names),
        cmocka_unit_test(shapes),
        cmocka_unit_test(files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
