// regex.c - regular expressions of tokenizers, run by PCRE2.
//
// tokenizers runs them with Oniguruma in Ruby's syntax over Unicode text. Before compiling, constructs that PCRE2 reads
// differently are rewritten. These are \s (PCRE2 includes U+180E, which is no whitespace since Unicode 6.3), \w and \b
// (marks and connectors are part of words) and \h (a hexadecimal digit). Others are classes inside classes, script
// names (PCRE2 means script extensions), and (?m). A construct that PCRE2 cannot express is refused by name.
#define PCRE2_CODE_UNIT_WIDTH 8
#include <ctype.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer.h"

enum { PATTERN_MAX_BYTES = 1 << 16, JIT_STACK_BYTES = 1 << 20, CLASS_DEPTH_MAX = 16 };
static const uint32_t match_limit = 20000000; // these expressions need far less for a megabyte

struct regex {
    pcre2_code *code;
    pcre2_match_data *match;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
    bool jit;
};

#define SPACES                                                                                     \
    "\\t-\\r "                                                                                     \
    "\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define WORD                                                                                       \
    "\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\xb2\\xb3\\xb9\\xbc-\\xbe\\x{24b6}-\\x{24e9}\\x{1f130}-"    \
    "\\x{1f149}"                                                                                   \
    "\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"
#define HEX_DIGITS "0-9A-Fa-f"

// ---- rewriting ------------------------------------------------------------------------------------

struct respell {
    const char *text;
    size_t bytes, at;
    struct str *out;
    const char *where;
    struct error *err;
};

static enum status refuse(const struct respell *r, size_t from, size_t bytes)
{
    if (bytes > r->bytes - from)
        bytes = r->bytes - from;
    return FAIL(r->err, ERR_UNSUPPORTED, "%s: pattern: '%.*s' is not supported", r->where,
                (int)bytes, r->text + from);
}

// The category that a property names: "L", "Lu", "Letter". Empty: none.
static const char *category_of(const char *name, size_t *length)
{
    static const char *const names[][2] = {{"Letter", "L"}, {"Mark", "M"},
                                           {"Number", "N"}, {"Punctuation", "P"},
                                           {"Symbol", "S"}, {"Separator", "Z"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strlen(names[i][0]) == *length && memcmp(names[i][0], name, *length) == 0) {
            *length = 1;
            return names[i][1];
        }
    if (*length > 2)
        *length = 0;
    return name;
}

// \p{Han} is a script, \p{Lu} a category, to which newer characters are added.
static enum status property(struct respell *r, bool in_class)
{
    const char *begin = r->text + r->at, *open = begin + 2;
    const char *close =
        r->at + 2 < r->bytes && *open == '{' ? memchr(open, '}', r->bytes - r->at - 2) : NULL;
    if (!close)
        return refuse(r, r->at, 3);
    const char *name = open + 1;
    bool negated = begin[1] == 'P';
    if (name < close && *name == '^') {
        negated = !negated;
        name++;
    }
    size_t length = (size_t)(close - name);
    const char *category = category_of(name, &length);
    r->at += (size_t)(close - begin) + 1;
    if (length == 0) { // a script
        str_printf(r->out, "\\%c{sc:%.*s}", negated ? 'P' : 'p', (int)(close - name), name);
        return OK;
    }
    if (in_class && negated) {
        str_printf(r->out, "\\P{%.*s}", (int)length, category);
        return OK;
    }
    str_append(r->out, in_class ? "" : negated ? "[^" : "[");
    str_printf(r->out, "\\p{%.*s}", (int)length, category);
    unicode_newer(category, length, r->out);
    str_append(r->out, in_class ? "" : "]");
    return OK;
}

// \u00e9, as four hexadecimal digits.
static enum status code_point(struct respell *r)
{
    for (size_t i = 2; i < 6; i++)
        if (r->at + i >= r->bytes || !isxdigit((unsigned char)r->text[r->at + i]))
            return refuse(r, r->at, 6);
    str_append(r->out, "\\x{");
    str_append_bytes(r->out, r->text + r->at + 2, 4);
    str_append(r->out, "}");
    r->at += 6;
    return OK;
}

// Each % becomes the word characters: letters, marks, decimal and letter-like numbers, those of Latin-1, connectors,
// circled letters.
static void append_words(struct str *out, const char *text)
{
    for (; *text; text++) {
        if (*text != '%') {
            str_append_bytes(out, text, 1);
            continue;
        }
        str_append(out, WORD);
        unicode_newer("L", 1, out);
        unicode_newer("M", 1, out);
        unicode_newer("Nd", 2, out);
    }
}

// The replacement of an escape; NULL: itself.
static const char *escape_spelling(char c, bool in_class)
{
    switch (c) {
    case 's':
        return in_class ? SPACES : "[" SPACES "]";
    case 'S':
        return in_class ? NULL : "[^" SPACES "]";
    case 'w':
        return in_class ? "%" : "[%]";
    case 'W':
        return "[^%]";
    case 'h':
        return in_class ? HEX_DIGITS : "[" HEX_DIGITS "]";
    case 'H':
        return "[^" HEX_DIGITS "]";
    case 'b':
        return in_class ? NULL : "(?:(?<=[%])(?![%])|(?<![%])(?=[%]))";
    case 'B':
        return "(?:(?<=[%])(?=[%])|(?<![%])(?![%]))";
    default:
        return NULL;
    }
}

static enum status escape(struct respell *r, bool in_class)
{
    if (r->at + 1 >= r->bytes)
        return refuse(r, r->at, 1);
    char c = r->text[r->at + 1];
    if (c == 'p' || c == 'P')
        return property(r, in_class);
    if (c == 'u')
        return code_point(r);
    if (c && strchr(in_class ? "WHBRXKGNOgkyYCQEM" : "RXKGNOgkyYCQEM", c))
        return refuse(r, r->at, 2);
    if (c == 'd' || c == 'D') {
        struct respell digits = *r;
        digits.text = c == 'd' ? "\\p{Nd}" : "\\P{Nd}";
        digits.bytes = 6;
        digits.at = 0;
        r->at += 2;
        return property(&digits, in_class);
    }
    const char *spelling = escape_spelling(c, in_class);
    if (spelling)
        append_words(r->out, spelling);
    else
        str_append_bytes(r->out, r->text + r->at, 2);
    r->at += 2;
    return OK;
}

// A class. Omitting the brackets of inner classes unites them with it.
static enum status character_class(struct respell *r)
{
    int depth = 0;
    str_append(r->out, "[");
    r->at++;
    if (r->at < r->bytes && r->text[r->at] == '^') {
        str_append(r->out, "^");
        r->at++;
    }
    if (r->at < r->bytes && r->text[r->at] == ']') { // a member when it comes first
        str_append(r->out, "\\]");
        r->at++;
    }
    while (r->at < r->bytes) {
        char c = r->text[r->at], next = r->at + 1 < r->bytes ? r->text[r->at + 1] : '\0';
        if (c == '\\') {
            TRY(escape(r, true));
            continue;
        }
        if ((c == '[' && (next == '^' || next == ':' || depth == CLASS_DEPTH_MAX)) ||
            (c == '&' && next == '&'))
            return refuse(r, r->at, 2);
        if (c == '[')
            depth++;
        else if (c != ']' || depth == 0)
            str_append_bytes(r->out, &c, 1);
        r->at++;
        if (c == ']' && depth-- == 0)
            return OK;
    }
    return FAIL(r->err, ERR_FORMAT, "%s: pattern: a class without its ]", r->where);
}

// "(?i:", "(?m-i)": Ruby's m lets . match a newline, which is PCRE2's s.
static enum status group_options(struct respell *r)
{
    size_t end = r->at + 2;
    while (end < r->bytes && (isalpha((unsigned char)r->text[end]) || r->text[end] == '-'))
        end++;
    if (end == r->bytes || end == r->at + 2 || (r->text[end] != ':' && r->text[end] != ')')) {
        str_append(r->out, "(?");
        r->at += 2;
        return OK;
    }
    str_append(r->out, "(?");
    for (size_t i = r->at + 2; i <= end; i++) {
        char c = r->text[i] == 'm' ? 's' : r->text[i];
        if (i < end && !strchr("imx-", r->text[i]))
            return refuse(r, r->at, end - r->at + 1);
        str_append_bytes(r->out, &c, 1);
    }
    r->at = end + 1;
    return OK;
}

static enum status respell(struct respell *r)
{
    while (r->at < r->bytes) {
        char c = r->text[r->at], next = r->at + 1 < r->bytes ? r->text[r->at + 1] : '\0';
        if (c == '\\') {
            TRY(escape(r, false));
        } else if (c == '[') {
            TRY(character_class(r));
        } else if (c == '(' && next == '?') {
            TRY(group_options(r));
        } else if (c == '(' && next == '*') { // PCRE2's verbs
            return refuse(r, r->at, 2);
        } else if (c == '}' && next == '+') { // possessive in PCRE2 alone
            return refuse(r, r->at, 2);
        } else {
            str_append_bytes(r->out, &c, 1);
            r->at++;
        }
    }
    return OK;
}

// ---- compiling ------------------------------------------------------------------------------------

static enum status compile(struct regex *re, const struct str *text, bool literal,
                           const char *where, struct error *err)
{
    int code;
    PCRE2_SIZE at;
    PCRE2_UCHAR reason[128];
    uint32_t options =
        PCRE2_UTF |
        (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
    re->code = pcre2_compile((PCRE2_SPTR)str_text(text), text->length, options, &code, &at, NULL);
    if (!re->code) {
        pcre2_get_error_message(code, reason, sizeof reason);
        return FAIL(err, ERR_FORMAT, "%s: pattern: %s", where, (char *)reason);
    }
    re->match = pcre2_match_data_create(1, NULL);
    re->context = pcre2_match_context_create(NULL);
    if (!re->match || !re->context)
        return FAIL(err, ERR_NOMEM, "%s: no memory for a pattern", where);
    pcre2_set_match_limit(re->context, match_limit);
    re->jit = pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE) == 0; // else it is interpreted
    re->stack = re->jit ? pcre2_jit_stack_create(1 << 15, JIT_STACK_BYTES, NULL) : NULL;
    if (re->stack)
        pcre2_jit_stack_assign(re->context, NULL, re->stack);
    return OK;
}

enum status regex_create(const char *pattern, size_t bytes, bool literal, const char *where,
                         struct regex **out, struct error *err)
{
    struct str text = {0};
    enum status status = OK;
    *out = NULL;
    if (bytes > PATTERN_MAX_BYTES)
        return FAIL(err, ERR_FORMAT, "%s: a pattern of %zu bytes", where, bytes);
    struct regex *re = calloc(1, sizeof *re);
    if (literal)
        str_append_bytes(&text, pattern, bytes);
    else
        status = respell(&(struct respell){pattern, bytes, 0, &text, where, err});
    if (status == OK && (!re || text.failed))
        status = FAIL(err, ERR_NOMEM, "%s: no memory for a pattern", where);
    if (status == OK)
        status = compile(re, &text, literal, where, err);
    str_fini(&text);
    if (status == OK)
        *out = re;
    else
        regex_destroy(re);
    return status;
}

void regex_destroy(struct regex *re)
{
    if (!re)
        return;
    pcre2_code_free(re->code);
    pcre2_match_data_free(re->match);
    pcre2_match_context_free(re->context);
    pcre2_jit_stack_free(re->stack);
    free(re);
}

// ---- matching -------------------------------------------------------------------------------------

enum status regex_next(struct regex *re, const char *text, size_t bytes, size_t from, bool *found,
                       size_t *begin, size_t *end, struct error *err)
{
    PCRE2_SPTR subject = (PCRE2_SPTR)text;
    int count = re->jit ? pcre2_jit_match(re->code, subject, bytes, from, 0, re->match, re->context)
                        : pcre2_match(re->code, subject, bytes, from, PCRE2_NO_UTF_CHECK, re->match,
                                      re->context);
    *found = count >= 0;
    if (count < 0 && count != PCRE2_ERROR_NOMATCH) {
        PCRE2_UCHAR reason[128];
        pcre2_get_error_message(count, reason, sizeof reason);
        return FAIL(err, ERR_UNSUPPORTED, "splitting %zu bytes of text at byte %zu: %s", bytes,
                    from, (char *)reason);
    }
    if (count >= 0) {
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(re->match);
        *begin = span[0];
        *end = span[1];
    }
    return OK;
}
