// test_spellings.c - settings that config.json spells in two ways: which one counts, and what is refused.
//
// Expected values are what transformers 5.24 makes of the same files (tools/golden/show_spellings.py), unless
// it drops something in silence: then the file is refused.
#include "tests/load/config_fixture.h"

// ---- RoPE -------------------------------------------------------------------------------------------

static void rope_scaling_counts(void **state)
{
    (void)state;
    struct model_config c =
        changed("{'rope_scaling':{'rope_type':'yarn','factor':4.0},'rope_parameters':{"
                "'rope_type':'linear','factor':2.0,'rope_theta':10000.0}}");
    assert_int_equal(c.rope_scaling, ROPE_SCALE_YARN);
    assert_float_equal(c.rope_factor, 4, 0);
    c = changed("{'rope_scaling':{'rope_type':'default','rope_theta':7.0},'rope_parameters':{"
                "'rope_type':'linear','factor':2.0}}");
    assert_int_equal(c.rope_scaling, ROPE_SCALE_NONE);
    assert_float_equal(c.rope_theta, 7, 0);
    static const char *const nothing[] = {"null", "{}"};
    for (int i = 0; i < 2; i++) {
        char text[160];
        snprintf(text, sizeof text,
                 "{'rope_scaling':%s,'rope_parameters':{'rope_type':'linear','factor':2.0}}",
                 nothing[i]);
        assert_int_equal(changed(text).rope_scaling, ROPE_SCALE_LINEAR);
    }
    refused("{'rope_scaling':{'factor':4.0},'rope_parameters':3}", ERR_FORMAT, "rope_parameters");
}

// transformers would go on with its default, 10000, and say nothing.
static void theta_of_the_losing_object(void **state)
{
    (void)state;
    refused("{'rope_scaling':{'rope_type':'yarn','factor':4.0},'rope_parameters':{'rope_theta':"
            "500000.0}}",
            ERR_FORMAT, "rope_theta is 500000 in rope_parameters, but rope_scaling");
    refused("{'model_type':'phi','rope_scaling':{'rope_type':'linear','factor':2.0},"
            "'rope_parameters':{'partial_rotary_factor':0.75}}",
            ERR_FORMAT, "partial_rotary_factor is 0.75 in rope_parameters");
    struct model_config c = changed("{'rope_theta':5e5,'rope_scaling':{'rope_type':'yarn',"
                                    "'factor':4.0},'rope_parameters':{'rope_theta':500000.0}}");
    assert_float_equal(c.rope_theta, 5e5f, 0);
    assert_int_equal(c.rope_scaling, ROPE_SCALE_YARN);
}

static void inside_before_outside(void **state)
{
    (void)state;
    static const char *const keys[] = {"rope_parameters", "rope_scaling"};
    for (int i = 0; i < 2; i++) {
        char text[160];
        snprintf(text, sizeof text, "{'rope_theta':7.0,'%s':{'rope_theta':5e5}}", keys[i]);
        assert_float_equal(changed(text).rope_theta, 5e5f, 0);
        snprintf(text, sizeof text, "{'rope_theta':7.0,'%s':{'rope_type':'linear','factor':2.0}}",
                 keys[i]);
        assert_float_equal(changed(text).rope_theta, 7, 0);
        snprintf(text, sizeof text,
                 "{'model_type':'phi','partial_rotary_factor':0.25,'%s':{"
                 "'partial_rotary_factor':0.75}}",
                 keys[i]);
        assert_int_equal(changed(text).rotary, 12);
    }
    struct model_config c =
        changed("{'rope_scaling':{'type':'linear','rope_type':'default','factor':3.0}}");
    assert_int_equal(c.rope_scaling, ROPE_SCALE_NONE);
    assert_float_equal(changed("{'model_type':'mixtral'}").rope_theta, 1e6f, 0);
}

static void kinds_of_layers(void **state)
{
    (void)state;
    struct model_config c = changed(
        "{'model_type':'gemma3_text','head_dim':16,'rope_theta':7.0,'rope_local_base_freq':8.0,"
        "'rope_scaling':{'rope_type':'linear','factor':8.0},'rope_parameters':{"
        "'full_attention':{'rope_type':'default','rope_theta':5.0},"
        "'sliding_attention':{'rope_type':'default','rope_theta':6.0}}}");
    assert_int_equal(c.rope_scaling, ROPE_SCALE_LINEAR);
    assert_float_equal(c.rope_factor, 8, 0);
    assert_float_equal(c.rope_theta, 5, 0);
    assert_float_equal(c.rope_local_theta, 6, 0);
    c = changed("{'model_type':'gemma3_text','head_dim':16,'rope_theta':7.0,"
                "'rope_local_base_freq':8.0,'rope_scaling':{'rope_type':'linear','factor':8.0}}");
    assert_float_equal(c.rope_theta, 7, 0);
    assert_float_equal(c.rope_local_theta, 8, 0);
    refused("{'model_type':'gemma3_text','head_dim':16,'rope_parameters':{'rope_type':'linear',"
            "'factor':2.0}}",
            ERR_FORMAT, "neither full_attention nor sliding_attention");
    refused("{'rope_parameters':{'full_attention':{'rope_theta':5.0}}}", ERR_UNSUPPORTED,
            "full_attention");
}

static void original_positions(void **state)
{
    (void)state;
    static const char *const types[] = {"llama3", "yarn"};
    for (int i = 0; i < 2; i++) {
        char text[256];
        snprintf(text, sizeof text,
                 "{'rope_scaling':{'rope_type':'%s','factor':4.0,'low_freq_factor':1.0,"
                 "'high_freq_factor':4.0}}",
                 types[i]);
        assert_int_equal(changed(text).rope_original_positions, 128); // max_position_embeddings
        snprintf(text, sizeof text,
                 "{'original_max_position_embeddings':32,'rope_scaling':{'rope_type':'%s',"
                 "'factor':4.0,'low_freq_factor':1.0,'high_freq_factor':4.0}}",
                 types[i]);
        refused(text, ERR_UNSUPPORTED, "is 128 here and 32 next to it");
    }
#define LONGROPE                                                                                   \
    "'rope_scaling':{'type':'longrope','original_max_position_embeddings':16,"                     \
    "'short_factor':[1,1,1,1,1,1,1,1],'long_factor':[1,1,1,1,1,1,1,2]}"
    assert_int_equal(
        changed("{'model_type':'phi3','original_max_position_embeddings':32," LONGROPE "}")
            .rope_original_positions,
        32);
    assert_int_equal(changed("{'model_type':'phi3'," LONGROPE "}").rope_original_positions, 4096);
    assert_int_equal(changed("{" LONGROPE "}").rope_original_positions, 16);
}

// ---- other keys -------------------------------------------------------------------------------------

static void two_names_of_a_size(void **state)
{
    (void)state;
#define GPT2 "'model_type':'gpt2','n_positions':128"
    struct model_config c = changed("{" GPT2 ",'n_embd':64,'n_layer':2,'n_head':4}");
    assert_int_equal(c.width, 64);
    c = changed("{'model_type':'gpt2'}"); // the other names alone
    assert_int_equal(c.width, 64);
    assert_int_equal(c.layers, 2);
    assert_int_equal(c.learned_positions, 128);
    refused("{" GPT2 ",'n_embd':32}", ERR_FORMAT, "n_embd is 32 and hidden_size is 64");
    refused("{" GPT2 ",'n_layer':3}", ERR_FORMAT, "n_layer is 3 and num_hidden_layers is 2");
    refused("{" GPT2 ",'n_head':2}", ERR_FORMAT, "n_head is 2 and num_attention_heads is 4");
    refused("{'model_type':'gpt2','n_positions':64}", ERR_FORMAT,
            "n_positions is 64 and max_position_embeddings is 128");
    refused("{'model_type':'bloom','n_embed':32}", ERR_FORMAT, "hidden_size is 64 and n_embed");
    refused("{'model_type':'falcon','n_embed':32}", ERR_FORMAT, "hidden_size is 64 and n_embed");
    refused("{'model_type':'mpt','d_model':32,'max_seq_len':64}", ERR_FORMAT,
            "d_model is 32 and hidden_size is 64");
    assert_int_equal(changed("{'model_type':'mixtral','num_experts':6}").experts, 6);
    refused("{'model_type':'mixtral','num_local_experts':4,'num_experts':6}", ERR_FORMAT,
            "num_local_experts is 4 and num_experts is 6");
    refused("{'quantization_config':{'a':1},'compression_config':{'a':2}}", ERR_FORMAT,
            "quantization_config is");
}

static void activations(void **state)
{
    (void)state;
    struct model_config c = changed("{'model_type':'gemma','head_dim':16,'hidden_act':'gelu',"
                                    "'hidden_activation':'gelu_pytorch_tanh'}");
    assert_int_equal(c.activation, ACT_GELU_TANH);
    refused("{'model_type':'gemma','hidden_act':'gelu','hidden_activation':'relu'}", ERR_FORMAT,
            "hidden_activation is 'relu'");
    refused("{'model_type':'gemma2','hidden_act':'gelu','hidden_activation':'gelu_pytorch_tanh'}",
            ERR_FORMAT, "hidden_activation is");
}

static void head_sizes(void **state)
{
    (void)state;
    static const char *const archs[] = {"llama", "mistral", "mixtral", "qwen2", "qwen2_moe",
                                        "phi",   "phi3",    "qwen3",   "gemma"};
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        char text[160];
        snprintf(text, sizeof text, "{'model_type':'%s','head_dim':24,'moe_intermediate_size':32}",
                 archs[i]);
        assert_int_equal(changed(text).head_dim, 24);
    }
}

static void windows(void **state)
{
    (void)state;
    refused("{'model_type':'qwen3','layer_types':['sliding_attention','full_attention']}",
            ERR_FORMAT, "layer_types: 0 is sliding_attention, but use_sliding_window says");
    refused("{'model_type':'mistral','sliding_window':null,'layer_types':['full_attention',"
            "'sliding_attention']}",
            ERR_FORMAT, "layer_types: 1 is sliding_attention, but sliding_window says");
    refused("{'model_type':'mistral','sliding_window':7,'layer_types':['full_attention',"
            "'sliding_attention']}",
            ERR_UNSUPPORTED, "layer_types: 0 is full_attention, but sliding_window gives");
    refused("{'model_type':'mistral','sliding_window':7,'use_sliding_window':false}",
            ERR_UNSUPPORTED, "use_sliding_window is false and sliding_window is 7");
#define MOE "'model_type':'qwen2_moe','moe_intermediate_size':32,'use_sliding_window':true"
    refused("{" MOE "}", ERR_UNSUPPORTED, "use_sliding_window without layer_types");
    struct model_config c = changed(
        "{" MOE ",'sliding_window':9,'layer_types':['full_attention','sliding_attention']}");
    assert_int_equal(model_window(&c, 0), 0);
    assert_int_equal(model_window(&c, 1), 9);
}

// ---- remarks ----------------------------------------------------------------------------------------

static void expect_remarks(const char *config, const char *generation, const char *want)
{
    json_t *root = parse(config), *other = generation ? parse(generation) : NULL;
    struct str out = {0};
    hf_remarks(root, other, &out);
    if (*want ? !strstr(str_text(&out), want) : out.length > 0)
        fail_msg("'%s' is not in: %s", want, str_text(&out));
    str_fini(&out);
    json_decref(root);
    json_decref(other);
}

static void remarks(void **state)
{
    (void)state;
    expect_remarks("{'eos_token_id':2,'dtype':'float16','torch_dtype':'float16'}",
                   "{'eos_token_id':2}", "");
    expect_remarks("{'rope_scaling':{'factor':2},'rope_parameters':{'factor':3}}", NULL,
                   "rope_scaling counts");
    expect_remarks("{'rope_theta':777.0,'rope_parameters':{'rope_theta':10000}}", NULL,
                   "rope_theta is 10000 in rope_parameters and counts: the 777.0 next to it");
    expect_remarks("{'partial_rotary_factor':1,'rope_scaling':{'partial_rotary_factor':0.5}}", NULL,
                   "partial_rotary_factor is 0.5 in rope_scaling and counts");
    expect_remarks("{'rope_theta':10000.0,'rope_parameters':{'rope_theta':10000}}", NULL, "");
    // gemma3's two kinds of layers, each with an object of its own
    expect_remarks(
        "{'rope_theta':1e6,'rope_parameters':{'full_attention':{'rope_theta':2e6}}}", NULL,
        "rope_theta is 2000000.0 in full_attention and counts: the 1000000.0 next to it");
    expect_remarks("{'rope_local_base_freq':555,'rope_parameters':{'full_attention':{},"
                   "'sliding_attention':{'rope_theta':3000}}}",
                   NULL,
                   "rope_theta is 3000 in sliding_attention and counts: rope_local_base_freq 555 "
                   "next to it does not");
    expect_remarks("{'rope_local_base_freq':3000,'rope_parameters':{"
                   "'sliding_attention':{'rope_theta':3000.0}}}",
                   NULL, "");
    expect_remarks("{'rope_scaling':{'rope_type':'default','type':'linear','factor':2}}", NULL,
                   "rope_type is \"default\" in rope_scaling and counts: its older name type, "
                   "\"linear\", does not");
    expect_remarks("{'rope_scaling':{'rope_type':'linear','type':'linear','factor':2}}", NULL, "");
    expect_remarks("{'dtype':'bfloat16','torch_dtype':'float16'}", NULL,
                   "dtype is \"bfloat16\" and torch_dtype \"float16\"");
    expect_remarks("{'eos_token_id':[9,8]}", NULL, "eos_token_id lists [9,8]: the first");
    expect_remarks("{'eos_token_id':2}", "{'eos_token_id':[2,3]}",
                   "generation_config.json: eos_token_id is [2,3]: not used");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rope_scaling_counts),
        cmocka_unit_test(theta_of_the_losing_object),
        cmocka_unit_test(inside_before_outside),
        cmocka_unit_test(kinds_of_layers),
        cmocka_unit_test(original_positions),
        cmocka_unit_test(two_names_of_a_size),
        cmocka_unit_test(activations),
        cmocka_unit_test(head_sizes),
        cmocka_unit_test(windows),
        cmocka_unit_test(remarks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
