// test_names.c - names to roles and back, and which rows of a fused or transposed tensor a role takes.
#include "tests/load/load_fixture.h"

#include "engine/load/hf/hf.h"

// 4 heads of 2 in 2 groups, width 3.
static struct model_config config_of(const char *arch)
{
    struct model_config c = {.layers = 12,
                             .width = 3,
                             .heads = 4,
                             .kv_heads = 2,
                             .head_dim = 2,
                             .ff = 5,
                             .vocab = 7,
                             .qkv_bias = true};
    snprintf(c.arch, sizeof c.arch, "%s", arch);
    return c;
}

static struct tensor_place place_of(const struct model_config *c, const char *name)
{
    struct tensor_place place;
    if (!tensor_names_find(hf_names(c), name, c, &place))
        fail_msg("%s: not found", name);
    return place;
}

static void expect_none(const struct model_config *c, const char *name)
{
    struct tensor_place place;
    if (tensor_names_find(hf_names(c), name, c, &place))
        fail_msg("%s: found", name);
}

static void names(void **state)
{
    (void)state;
    struct model_config c = config_of("llama");
    struct tensor_place p = place_of(&c, "model.layers.11.self_attn.q_proj.weight");
    assert_int_equal(p.layer, 11);
    assert_int_equal(p.count, 1);
    assert_int_equal(p.roles[0], T_Q);
    assert_int_equal(p.expert, -1);
    assert_int_equal(place_of(&c, "layers.0.mlp.down_proj.weight").roles[0], T_DOWN); // bare model
    assert_int_equal(place_of(&c, "embed_tokens.weight").roles[0], T_EMBEDDING);
    assert_int_equal(place_of(&c, "lm_head.weight").layer, -1);
    expect_none(&c, "model.layers.12.mlp.down_proj.weight"); // beyond the description
    expect_none(&c, "model.layers.01.mlp.down_proj.weight");
    expect_none(&c, "model.layers.1.mlp.down_proj.weight.x");
    expect_none(&c, "model.layers.1mlp.down_proj.weight");
    expect_none(&c, "model.model.norm.weight");
    expect_none(&c, "model.layers.1.self_attn.o_proj.bias"); // of no such bias
    c.tied = true;
    expect_none(&c, "lm_head.weight");

    const struct tensor_names *llama = hf_names(&c);
    assert_true(tensor_names_stray(llama, "model.layers.1.self_attn.o_proj.bias", &c));
    assert_false(tensor_names_stray(llama, "model.layers.12.self_attn.o_proj.bias", &c));
    assert_false(tensor_names_stray(llama, "model.layers.1.self_attn.rotary_emb.inv_freq", &c));
    assert_false(tensor_names_stray(llama, "lm_head.weight", &c));
    char text[128];
    assert_string_equal(tensor_names_text(llama, T_V, 3, -1, text, sizeof text),
                        "model.layers.3.self_attn.v_proj.weight");
}

static void fused(void **state)
{
    (void)state;
    struct model_config c = config_of("phi3");
    struct tensor_place p = place_of(&c, "model.layers.0.self_attn.qkv_proj.weight");
    assert_int_equal(p.count, 3);
    assert_int_equal(p.roles[0], T_Q);
    assert_int_equal(p.roles[2], T_V);
    struct tensor_shape shape = tensor_names_shape(hf_names(&c), &c, T_K);
    assert_int_equal(shape.rows, 8 + 4 + 4);
    assert_int_equal(shape.cols, 3);
    assert_int_equal(tensor_names_row(hf_names(&c), &c, T_Q, 7), 7);
    assert_int_equal(tensor_names_row(hf_names(&c), &c, T_K, 1), 9);
    assert_int_equal(tensor_names_row(hf_names(&c), &c, T_V, 0), 12);
    assert_int_equal(tensor_names_row(hf_names(&c), &c, T_GATE, 4), 4);
    assert_int_equal(tensor_names_row(hf_names(&c), &c, T_UP, 0), 5);
}

// By KV head: q q k v, q q k v.
static void grouped(void **state)
{
    (void)state;
    struct model_config c = config_of("falcon");
    const struct tensor_names *n = hf_names(&c);
    static const int q[] = {0, 1, 2, 3, 8, 9, 10, 11}, k[] = {4, 5, 12, 13}, v[] = {6, 7, 14, 15};
    for (int i = 0; i < 8; i++)
        assert_int_equal(tensor_names_row(n, &c, T_Q, i), q[i]);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(tensor_names_row(n, &c, T_K_BIAS, i), k[i]);
        assert_int_equal(tensor_names_row(n, &c, T_V, i), v[i]);
    }
    assert_int_equal(tensor_names_shape(n, &c, T_Q_BIAS).cols, 16);
    c.kv_heads = 1; // all of q, then k, then v
    assert_int_equal(tensor_names_row(n, &c, T_Q, 7), 7);
    assert_int_equal(tensor_names_row(n, &c, T_K, 1), 9);
    assert_int_equal(tensor_names_row(n, &c, T_V, 0), 10);
}

// One matrix of every kind through the map: values tell where they were stored.
static void reading(void **state)
{
    (void)state;
    struct model_config c = config_of("gpt2");
    c.kv_heads = 4;
    const struct tensor_names *n = hf_names(&c);
    struct error err = {0};
    struct tensor_map map;
    float stored[3 * 24], bias[24], out[4 * 10];
    for (int i = 0; i < 3 * 24; i++)
        stored[i] = (float)i; // element (input c, output r) is 24 c + r
    for (int i = 0; i < 24; i++)
        bias[i] = (float)(1000 + i);
    expect_ok(tensor_map_init(&map, &c, &err), &err, "map");
    *tensor_map_at(&map, T_K, 2) = (struct stored_tensor){(unsigned char *)stored, stored_f32};
    *tensor_map_at(&map, T_V_BIAS, 2) = (struct stored_tensor){(unsigned char *)bias, stored_f32};
    struct tensor_shape shape = tensor_names_shape(n, &c, T_K);
    assert_int_equal(shape.rows, 3);
    assert_int_equal(shape.cols, 24);
    tensor_map_read(&map, &c, n, T_K, 2, 3, 4, out, 10);
    for (int r = 0; r < 4; r++)
        for (int col = 0; col < 3; col++)
            assert_float_equal(out[r * 10 + col], 24 * col + 8 + 3 + r, 0);
    tensor_map_read(&map, &c, n, T_V_BIAS, 2, 0, 1, out, 8);
    for (int i = 0; i < 8; i++)
        assert_float_equal(out[i], 1016 + i, 0);
    tensor_map_fini(&map);

    c = config_of("gemma");
    expect_ok(tensor_map_init(&map, &c, &err), &err, "map");
    *tensor_map_at(&map, T_ATTN_NORM, 0) =
        (struct stored_tensor){(unsigned char *)stored, stored_f32};
    tensor_map_read(&map, &c, hf_names(&c), T_ATTN_NORM, 0, 0, 1, out, 3);
    assert_float_equal(out[2], 3, 0); // stored less 1
    tensor_map_fini(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(fused),
        cmocka_unit_test(grouped),
        cmocka_unit_test(reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
