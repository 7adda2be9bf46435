/* Makes the calls of kernels that stand in one file and writes what they gave into another: for processors
   and sanitisers that no Python runs under. Compiled once a form, beside the kernels. calls.py writes the
   first file: calls, one after another, each a line with the name of a function and how many arguments follow;
   each argument a letter and an int64, of which the letter says what it is:
     i  the number itself            d  the bits of a double
     b  the size of a buffer, whose bytes follow: an input     o  the same, which is written out afterwards
     r  the place of an earlier argument, whose buffer this is, too                       n  a null pointer
   Each buffer has an allocation of its own, so that an address sanitiser sees the first byte beyond. */
#define _POSIX_C_SOURCE 200112L /* posix_memalign */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

enum { MOST_ARGUMENTS = 40 };

static void stop(const char *why) {
    fprintf(stderr, "driver: %s\n", why);
    exit(2);
}

struct argument {
    char letter;
    int64_t number;
    void *buffer, *allocated;
};
static struct argument arguments[MOST_ARGUMENTS];

static int64_t integer(int at) { return arguments[at].number; }
static int small(int at) { return (int)arguments[at].number; }
static void *pointer(int at) { return arguments[at].buffer; }
static double number(int at) {
    double value;
    memcpy(&value, &arguments[at].number, sizeof value);
    return value;
}

static void *room(int64_t size) {
    void *made = NULL;
    if (posix_memalign(&made, 64, size > 0 ? (size_t)size : 1)) stop("no memory");
    if (size > 0) memset(made, 0xff, (size_t)size); /* not zeros, which a kernel could count on */
    return made;
}

/* Arguments in the order of kernels.h; those of struct attention one after another; scratch is made here. */
static void product(void) {
    void *scratch = room(FORM(product_scratch)(integer(2), integer(3)));
    FORM(product)(pointer(0), integer(1), integer(2), integer(3), pointer(4), small(5), integer(6), integer(7),
                  pointer(8), pointer(9), pointer(10), integer(11), integer(12), integer(13), scratch);
    free(scratch);
}
static void attention(void) {
    struct attention of = {
        .query = pointer(0), .key = pointer(1), .value = pointer(2), .mask = pointer(3), .out = pointer(4),
        .heads = integer(5), .group = integer(6), .rows = integer(7), .keys = integer(8), .d = integer(9),
        .e = integer(10), .mask_kind = small(27), .scale = (float)number(28),
    };
    for (int i = 0; i < 3; i++) {
        of.query_strides[i] = integer(11 + i);
        of.key_strides[i] = integer(14 + i);
        of.value_strides[i] = integer(17 + i);
        of.out_strides[i] = integer(20 + i);
    }
    for (int i = 0; i < 4; i++) of.mask_strides[i] = integer(23 + i);
    void *scratch = room(FORM(attention_scratch)(of.rows, of.keys, of.d, of.e));
    FORM(attention)(&of, integer(29), integer(30), scratch);
    free(scratch);
}
static void convolution(void) {
    FORM(convolution)(pointer(0), integer(1), integer(2), pointer(3), pointer(4), integer(5), integer(6), integer(7),
                      integer(8), integer(9), pointer(10), integer(11), integer(12));
}
static void sum(void) { FORM(sum)(pointer(0), integer(1), integer(2), integer(3), small(4), pointer(5)); }
static void sum_of_squares(void) {
    FORM(sum_of_squares)(pointer(0), integer(1), integer(2), integer(3), small(4), pointer(5));
}
static void softmax(void) { FORM(softmax)(pointer(0), integer(1), integer(2), integer(3), pointer(4), integer(5)); }
static void layer_norm(void) {
    FORM(layer_norm)(pointer(0), integer(1), integer(2), pointer(3), pointer(4), number(5), pointer(6));
}
static void rms_norm(void) { FORM(rms_norm)(pointer(0), integer(1), integer(2), pointer(3), number(4), pointer(5)); }
#define CALL(name) \
    static void call_##name(void) { FORM(name)(pointer(0), pointer(1), integer(2)); }
GOT_FUNCTIONS(CALL)

#define NAMED(name) {#name, name},
#define NAMED_CALL(name) {#name, call_##name},
static const struct {
    const char *name;
    void (*call)(void);
} NAMES[] = {
    NAMED(product) NAMED(attention) NAMED(convolution) NAMED(sum) NAMED(sum_of_squares) NAMED(softmax)
    NAMED(layer_norm) NAMED(rms_norm) GOT_FUNCTIONS(NAMED_CALL)
};

static int64_t next(FILE *from) {
    int64_t value;
    if (fread(&value, sizeof value, 1, from) != 1) stop("the calls end early");
    return value;
}

/* `shift`: how far a buffer begins beyond 64 bytes' alignment, as no caller promises any. */
static void read_argument(FILE *from, int at, int64_t shift) {
    int letter = getc(from);
    struct argument *this = &arguments[at];
    *this = (struct argument){(char)letter, next(from), NULL, NULL};
    if (letter == 'b' || letter == 'o') {
        this->allocated = room(this->number + shift);
        this->buffer = (char *)this->allocated + shift;
        if (fread(this->buffer, 1, (size_t)this->number, from) != (size_t)this->number) stop("a buffer ends early");
    } else if (letter == 'r') {
        this->buffer = pointer(small(at));
    } else if (letter != 'i' && letter != 'd' && letter != 'n') {
        stop("an unknown letter");
    }
}

static void (*function(const char *name))(void) {
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (!strcmp(NAMES[i].name, name)) return NAMES[i].call;
    stop(name);
    return NULL;
}

int main(int count, char **paths) {
    FILE *from = count == 3 ? fopen(paths[1], "rb") : NULL, *to = count == 3 ? fopen(paths[2], "wb") : NULL;
    if (!from || !to) stop("two files are expected: calls and results");
    char name[32];
    int many;
    for (int calls = 0; fscanf(from, "%31s %d", name, &many) == 2; calls++) {
        if (many > MOST_ARGUMENTS || getc(from) != '\n') stop("not a call");
        for (int i = 0; i < many; i++) read_argument(from, i, calls % 2 * 4);
        function(name)();
        for (int i = 0; i < many; i++) {
            if (arguments[i].letter == 'o') fwrite(arguments[i].buffer, 1, (size_t)arguments[i].number, to);
            free(arguments[i].allocated);
        }
    }
    fclose(from);
    if (fclose(to)) stop("the results could not be written");
    return 0;
}
