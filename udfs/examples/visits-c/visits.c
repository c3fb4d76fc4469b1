// An example in C: visits of a page, through the accessors and JSON text alone. docs/functions.md says how it is built.
//
// It does without <stdio.h>, whose printf brings files along, which a node hasn't got.
//
// A call's memory is gone when it ends; an aggregate or row query keeps its instance, so that what a record took is
// freed before the next.

#include <stdlib.h>
#include <string.h>

#include "outcrop.h"

typedef outcrop_string_t text_t;
typedef outcrop_list_u8_t bytes_t;
typedef exports_outcrop_udf_functions_failure_t failure_t;

enum { VISIT, TOTAL, FREQUENT, FUNCTIONS };
enum { LATEST_MAX = 5, VISITS_AT_ONCE_MAX = 1000 };
// A key of 1,024 bytes, each of them escaped, and some more.
enum { JSON_BYTES_MAX = 8192 };

// ---- texts ----

// A text that is being written: what doesn't fit is cut off, and `cut` says so.
typedef struct {
    char bytes[JSON_BYTES_MAX];
    size_t len;
    bool cut;
} writer_t;

static void put_bytes(writer_t *to, const void *bytes, size_t len) {
    size_t room = sizeof to->bytes - 1 - to->len;
    if (len > room) {
        len = room;
        to->cut = true;
    }
    memcpy(to->bytes + to->len, bytes, len);
    to->len += len;
    to->bytes[to->len] = 0;
}

static void put(writer_t *to, const char *text) { put_bytes(to, text, strlen(text)); }

static void put_unsigned(writer_t *to, uint64_t number) {
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
    } while (number /= 10);
    put_bytes(to, digits + at, sizeof digits - at);
}

static void put_integer(writer_t *to, int64_t number) {
    if (number < 0) put(to, "-");
    put_unsigned(to, number < 0 ? -(uint64_t)number : (uint64_t)number);
}

// A text in quotes, as JSON has it.
static void put_quoted(writer_t *to, const outcrop_string_t *text) {
    put(to, "\"");
    for (size_t at = 0; at < text->len; at++) {
        uint8_t byte = text->ptr[at];
        if (byte < 0x20 || byte == '"' || byte == '\\') {
            const char *hex = "0123456789abcdef";
            char escape[6] = {'\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15]};
            put_bytes(to, escape, sizeof escape);
        } else {
            put_bytes(to, &byte, 1);
        }
    }
    put(to, "\"");
}

// ---- results, failures, arguments ----

static void give(bytes_t *to, const void *bytes, size_t len) {
    to->len = len;
    to->ptr = malloc(len ? len : 1);
    if (to->ptr == NULL) __builtin_trap();
    memcpy(to->ptr, bytes, len);
}

static bool fail(failure_t *failure, const char *code, const char *message) {
    outcrop_string_dup(&failure->code, code);
    outcrop_string_dup(&failure->message, message);
    return false;
}

// What an accessor refused, as this function's own failure.
static bool refused(failure_t *failure, outcrop_udf_record_access_error_t *error) {
    writer_t message = {0};
    bool is_type = error->tag == OUTCROP_UDF_TYPES_ACCESS_ERROR_WRONG_TYPE;
    put(&message, is_type ? "the bin holds " : "the node refused it");
    if (is_type) put_bytes(&message, error->val.wrong_type.ptr, error->val.wrong_type.len);
    outcrop_udf_record_access_error_free(error);
    return fail(failure, is_type ? "wrong-type" : "refused", message.bytes);
}

// The one argument, an integer; `null` stands for what it is by default.
static bool integer_argument(const bytes_t *arguments, int64_t by_default, int64_t least, int64_t most, int64_t *number,
                             failure_t *failure) {
    char text[32];
    *number = by_default;
    if (arguments->len == 0 || (arguments->len == 4 && memcmp(arguments->ptr, "null", 4) == 0)) return true;
    bool fits = arguments->len < sizeof text;
    if (fits) {
        char *end;
        memcpy(text, arguments->ptr, arguments->len);
        text[arguments->len] = 0;
        *number = strtoll(text, &end, 10);
        fits = *end == 0 && *number >= least && *number <= most;
    }
    if (fits) return true;
    writer_t message = {0};
    put(&message, "the argument is an integer from ");
    put_integer(&message, least);
    put(&message, " to ");
    put_integer(&message, most);
    return fail(failure, "invalid-arguments", message.bytes);
}

static void set_text(text_t *text, const char *content) { outcrop_string_set(text, content); }

// The record's visits; 0 if it has none.
static bool visits_of_record(int64_t *visits, failure_t *failure) {
    text_t name;
    outcrop_option_s64_t found;
    outcrop_udf_record_access_error_t error;
    set_text(&name, "visits");
    if (!outcrop_udf_record_bin_get_integer(&name, &found, &error)) return refused(failure, &error);
    *visits = found.is_some ? found.val : 0;
    return true;
}

// ---- record function: one more visit ----

// Puts the time in front of a JSON list of times, and keeps the latest.
static void put_latest(writer_t *to, const outcrop_string_t *old, uint64_t now_ms) {
    put(to, "[");
    put_unsigned(to, now_ms);
    const uint8_t *at = old->ptr, *end = old->ptr + old->len;
    for (int kept = 1; kept < LATEST_MAX; kept++) {
        while (at < end && (*at < '0' || *at > '9')) at++;
        const uint8_t *start = at;
        while (at < end && *at >= '0' && *at <= '9') at++;
        if (at == start) break;
        put(to, ",");
        put_bytes(to, start, (size_t)(at - start));
    }
    put(to, "]");
}

static bool visit(const bytes_t *arguments, bytes_t *result, failure_t *failure) {
    int64_t by, visits;
    if (!integer_argument(arguments, 1, 1, VISITS_AT_ONCE_MAX, &by, failure)) return false;
    text_t name;
    outcrop_udf_record_access_error_t error;
    set_text(&name, "visits");
    if (!outcrop_udf_record_bin_add(&name, by, &visits, &error)) return refused(failure, &error);

    outcrop_udf_record_option_value_t found;
    set_text(&name, "latest");
    if (!outcrop_udf_record_bin_get(&name, &found, &error)) return refused(failure, &error);
    writer_t latest = {0}, json = {0}, said = {0};
    outcrop_string_t nothing = {0};
    bool is_list = found.is_some && found.val.tag == OUTCROP_UDF_TYPES_VALUE_JSON;
    put_latest(&latest, is_list ? &found.val.val.json : &nothing, outcrop_udf_context_now_ms());
    outcrop_udf_record_option_value_free(&found);

    outcrop_udf_record_value_t value = {.tag = OUTCROP_UDF_TYPES_VALUE_JSON};
    set_text(&value.val.json, latest.bytes);
    if (!outcrop_udf_record_bin_set(&name, &value, &error)) return refused(failure, &error);

    put(&said, "visit number ");
    put_integer(&said, visits);
    text_t line;
    set_text(&line, said.bytes);
    outcrop_udf_context_log(OUTCROP_UDF_TYPES_LOG_LEVEL_INFO, &line);
    set_text(&name, "visits");
    outcrop_udf_context_count(&name, (uint64_t)by);

    put(&json, "{\"visits\":");
    put_integer(&json, visits);
    put(&json, ",\"latest\":");
    put(&json, latest.bytes);
    put(&json, "}");
    give(result, json.bytes, json.len);
    return true;
}

// ---- aggregate and rows: state of this instance's one query ----

typedef struct {
    uint64_t records;
    int64_t visits, most;
} total_t;

// Of the aggregate, and of the row function.
static total_t total;
static int64_t visits_least;

// Takes in what a record, or another instance, came to.
static bool take(const total_t *other, failure_t *failure) {
    if (__builtin_add_overflow(total.visits, other->visits, &total.visits)) {
        return fail(failure, "overflow", "the sum of visits is over 64 bits");
    }
    total.records += other->records;
    if (other->most > total.most) total.most = other->most;
    return true;
}

bool exports_outcrop_udf_functions_aggregate_init(uint32_t function, bytes_t *arguments, failure_t *failure) {
    outcrop_list_u8_free(arguments);
    if (function != TOTAL) return fail(failure, "wrong-kind", "this is no aggregate");
    memset(&total, 0, sizeof total);
    return true;
}

bool exports_outcrop_udf_functions_aggregate_accept(bytes_t *batch, failure_t *failure) {
    outcrop_list_u8_free(batch);
    while (outcrop_udf_batch_next()) {
        total_t one = {.records = 1};
        if (!visits_of_record(&one.visits, failure)) return false;
        one.most = one.visits;
        if (!take(&one, failure)) return false;
    }
    return true;
}

// A state meets states of the same module only: any bytes will do.
bool exports_outcrop_udf_functions_aggregate_state(bytes_t *state, failure_t *failure) {
    (void)failure;
    give(state, &total, sizeof total);
    return true;
}

bool exports_outcrop_udf_functions_aggregate_merge(bytes_t *state, failure_t *failure) {
    total_t other;
    bool fits = state->len == sizeof other;
    if (fits) memcpy(&other, state->ptr, sizeof other);
    outcrop_list_u8_free(state);
    return fits ? take(&other, failure) : fail(failure, "malformed", "this is no state of mine");
}

bool exports_outcrop_udf_functions_aggregate_finish(bytes_t *result, failure_t *failure) {
    (void)failure;
    writer_t json = {0};
    put(&json, "{\"records\":");
    put_unsigned(&json, total.records);
    put(&json, ",\"visits\":");
    put_integer(&json, total.visits);
    put(&json, ",\"most\":");
    put_integer(&json, total.most);
    put(&json, "}");
    give(result, json.bytes, json.len);
    return true;
}

bool exports_outcrop_udf_functions_row_init(uint32_t function, bytes_t *arguments, failure_t *failure) {
    if (function != FREQUENT) return fail(failure, "wrong-kind", "this is no row function");
    bool fits = integer_argument(arguments, 1, 0, INT64_MAX, &visits_least, failure);
    outcrop_list_u8_free(arguments);
    return fits;
}

bool exports_outcrop_udf_functions_row_batch(bytes_t *batch, bytes_t *rows, failure_t *failure) {
    outcrop_list_u8_free(batch);
    while (outcrop_udf_batch_next()) {
        int64_t visits;
        if (!visits_of_record(&visits, failure)) return false;
        if (visits < visits_least) continue;
        outcrop_udf_record_user_key_t key;
        outcrop_udf_record_key(&key);
        writer_t row = {0};
        put(&row, "{\"key\":");
        if (key.tag == OUTCROP_UDF_TYPES_USER_KEY_TEXT) put_quoted(&row, &key.val.text);
        else if (key.tag == OUTCROP_UDF_TYPES_USER_KEY_INTEGER) put_integer(&row, key.val.integer);
        else put(&row, "null");
        outcrop_udf_record_user_key_free(&key);
        put(&row, ",\"visits\":");
        put_integer(&row, visits);
        put(&row, "}");
        if (row.cut) return fail(failure, "row-too-long", "the key doesn't fit a row");
        text_t json;
        set_text(&json, row.bytes);
        outcrop_udf_batch_emit(&json);
    }
    give(rows, "", 0);
    return true;
}

// ---- what the module is ----

static void describe(outcrop_udf_types_function_info_t *info, const char *name,
                     outcrop_udf_types_function_kind_t kind, const char *doc, const char *arguments,
                     const char *returns) {
    outcrop_string_dup(&info->name, name);
    outcrop_string_dup(&info->doc, doc);
    outcrop_string_dup(&info->arguments, arguments);
    outcrop_string_dup(&info->returns, returns);
    info->kind = kind;
    info->encoding = OUTCROP_UDF_TYPES_ENCODING_JSON;
    info->read_only = kind != OUTCROP_UDF_TYPES_FUNCTION_KIND_RECORD_FUNCTION;
}

void exports_outcrop_udf_functions_describe(exports_outcrop_udf_functions_module_info_t *info) {
    outcrop_string_dup(&info->doc, "Visits of pages, in C.");
    info->functions.len = FUNCTIONS;
    info->functions.ptr = calloc(FUNCTIONS, sizeof *info->functions.ptr);
    if (info->functions.ptr == NULL) __builtin_trap();
    describe(&info->functions.ptr[VISIT], "visit", OUTCROP_UDF_TYPES_FUNCTION_KIND_RECORD_FUNCTION,
             "Counts visits and keeps the times of the latest five.", "{\"type\":\"integer\"}", "{\"type\":\"object\"}");
    describe(&info->functions.ptr[TOTAL], "total", OUTCROP_UDF_TYPES_FUNCTION_KIND_AGGREGATE,
             "Pages, their visits, and the most of one page.", "{\"type\":\"null\"}", "{\"type\":\"object\"}");
    describe(&info->functions.ptr[FREQUENT], "frequent", OUTCROP_UDF_TYPES_FUNCTION_KIND_ROW,
             "Pages with so many visits at least.", "{\"type\":\"integer\"}", "{\"type\":\"object\"}");
}

bool exports_outcrop_udf_functions_call_record(uint32_t function, bytes_t *arguments, bytes_t *result,
                                               failure_t *failure) {
    if (function != VISIT) return fail(failure, "wrong-kind", "this is no record function");
    bool done = visit(arguments, result, failure);
    outcrop_list_u8_free(arguments);
    return done;
}
