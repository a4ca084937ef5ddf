// fuzz_config.c - config.json from any bytes.
#include "base/json.h"
#include "engine/load/hf/hf.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct model_config config;
    struct error err = {0};
    json_t *root = NULL;
    if (json_parse("fuzz", (const char *)data, size, &root, &err) == OK)
        model_config_from_json(root, "fuzz", &config, &err);
    struct str remarks = {0};
    hf_remarks(root, root, &remarks);
    str_fini(&remarks);
    json_decref(root);
    return 0;
}
