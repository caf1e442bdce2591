/* The kernels' numbers without Python, for systems where no Python can be run: `.ci/check-windows` compiles it.
 *
 * On every instruction set of the processor, in both precisions and with one thread and three, it compares layers, their
 * gradients, products and activations with plain sums over the C library's functions in double precision. It prints a hash
 * of all bits for each, which those with a fused multiply-add have in common, on all systems. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gatewise.h"

enum { TIME = 9, BATCH = 33, INPUTS = 13, HIDDEN = 96 };

static const gw_kernels *kernels;
static int single, threads, checks, failures;
static uint64_t hash;
static uint32_t random_state;

/* Numbers between -1 and 1, the same everywhere and in both precisions. */
static double drawn(void) {
    random_state = random_state * 1664525u + 1013904223u;
    return (double)(random_state >> 12) / (1 << 19) - 1;
}

static double *draw(size_t count, double scale) {
    double *numbers = malloc(count * sizeof *numbers);
    for (size_t k = 0; k < count; k++)
        numbers[k] = (float)(drawn() * scale);
    return numbers;
}

/* The same numbers for the kernels; zeros where there are none. */
static void *given(const double *numbers, size_t count) {
    float *narrow = calloc(count, sizeof(double));
    if (!single)
        return numbers ? memcpy(narrow, numbers, count * sizeof(double)) : (void *)narrow;
    for (size_t k = 0; numbers && k < count; k++)
        narrow[k] = (float)numbers[k];
    return narrow;
}

static double at(const void *array, size_t k) {
    return single ? (double)((const float *)array)[k] : ((const double *)array)[k];
}

static void compare(const char *what, const void *found, const double *expected, size_t count) {
    const double bound = single ? 2e-4 : 1e-11;
    double worst = 0;
    const unsigned char *bytes = found;
    for (size_t k = 0; k < count; k++) {
        const double difference = fabs(at(found, k) - expected[k]) / (1 + fabs(expected[k]));
        /* So written that NaN counts. */
        worst = difference <= worst ? worst : difference;
    }
    for (size_t k = 0; k < count * (single ? 4 : 8); k++)
        hash = (hash ^ bytes[k]) * UINT64_C(1099511628211);
    checks++;
    if (!(worst <= bound)) {
        failures++;
        printf("%s, %s: %g\n", what, single ? "single" : "double", worst);
    }
}

static gw_rows rows_of(void *data, ptrdiff_t features) {
    const gw_rows rows = {data, data ? BATCH * features : 0, features};
    return rows;
}

static gw_block block_of(void *data, ptrdiff_t time, ptrdiff_t batch, ptrdiff_t features) {
    const gw_block block = {{data, batch * features, features}, time, batch, features};
    return block;
}

static double logistic(double z) { return 1 / (1 + exp(-z)); }

struct net {
    const char *cell;
    int gates;
    double *w_ih, *w_hh, *bias, *bias_hn, *x, *weight;
};

/* y of one sequence; what an LSTM keeps in c is zero at the start, as h is. */
static double reference(const struct net *net, const double *x, ptrdiff_t row, double *y) {
    double h[HIDDEN] = {0}, c[HIDDEN] = {0}, z[4 * HIDDEN], own[4 * HIDDEN], loss = 0;
    for (ptrdiff_t t = 0; t < TIME; t++) {
        for (int g = 0; g < net->gates * HIDDEN; g++) {
            z[g] = net->bias[g];
            own[g] = 0;
            for (int k = 0; k < INPUTS; k++)
                z[g] += net->w_ih[g * INPUTS + k] * x[(t * BATCH + row) * INPUTS + k];
            for (int k = 0; k < HIDDEN; k++)
                own[g] += net->w_hh[g * HIDDEN + k] * h[k];
        }
        for (int u = 0; u < HIDDEN; u++) {
            const int second = HIDDEN + u, third = 2 * HIDDEN + u, fourth = 3 * HIDDEN + u;
            if (net->gates == 1) {
                h[u] = tanh(z[u] + own[u]);
            } else if (net->gates == 3) {
                const double reset = logistic(z[u] + own[u]), keep = logistic(z[second] + own[second]);
                const double new = tanh(z[third] + reset * (own[third] + net->bias_hn[u]));
                h[u] = (1 - keep) * new + keep * h[u];
            } else {
                c[u] = logistic(z[second] + own[second]) * c[u] +
                       logistic(z[u] + own[u]) * tanh(z[third] + own[third]);
                h[u] = logistic(z[fourth] + own[fourth]) * tanh(c[u]);
            }
            y[(t * BATCH + row) * HIDDEN + u] = h[u];
            loss += h[u] * net->weight[(t * BATCH + row) * HIDDEN + u];
        }
    }
    return loss;
}

/* Gradients of x by differences, for some inputs of one sequence. */
static void check_gradients(const struct net *net, gw_packed *packed, double *scratch) {
    const ptrdiff_t size = TIME * BATCH * HIDDEN;
    void *x = given(net->x, TIME * BATCH * INPUTS), *dx = given(NULL, TIME * BATCH * INPUTS);
    void *y = given(NULL, size), *extra = given(NULL, size), *dextra = given(NULL, size);
    void *gates = given(NULL, net->gates * size), *dgates = given(NULL, net->gates * size);
    void *dy = given(net->weight, size), *states[6];
    for (int k = 0; k < 6; k++)
        states[k] = given(NULL, BATCH * HIDDEN);
    const int has_c = net->gates == 4, has_extra = net->gates > 1;
    const gw_sequence sequence = {.time = TIME, .batch = BATCH};
    const gw_state state = {states[0], has_c ? states[1] : NULL},
                   initial = {states[2], has_c ? states[3] : NULL};
    const gw_state dstate = {states[4], has_c ? states[5] : NULL}, none = {NULL, NULL};
    const ptrdiff_t width = net->gates * HIDDEN;
    gw_status status =
        kernels->forward(packed, &sequence, rows_of(x, INPUTS), rows_of(gates, width), state,
                         rows_of(y, HIDDEN), rows_of(has_extra ? extra : NULL, HIDDEN), threads);
    status = status ? status : kernels->prepare_backward(packed);
    if (!status)
        status = kernels->backward(packed, &sequence, rows_of(gates, width),
                                   rows_of(has_extra ? extra : NULL, HIDDEN), rows_of(y, HIDDEN), initial,
                                   rows_of(dy, HIDDEN), dstate, rows_of(dgates, width),
                                   rows_of(net->gates == 3 ? dextra : NULL, HIDDEN), none, threads);
    if (!status)
        status = kernels->project_back(packed, block_of(dgates, TIME, BATCH, width),
                                       block_of(dx, TIME, BATCH, INPUTS), threads);
    failures += status != GW_OK;
    double expected[2 * INPUTS], found[2 * INPUTS];
    for (int k = 0; k < 2 * INPUTS; k++) {
        const ptrdiff_t row = k % 5, place = ((k % TIME) * BATCH + row) * INPUTS + k % INPUTS;
        const double before = net->x[place], step = 1e-5;
        net->x[place] = before + step;
        expected[k] = reference(net, net->x, row, scratch);
        net->x[place] = before - step;
        expected[k] = (expected[k] - reference(net, net->x, row, scratch)) / (2 * step);
        net->x[place] = before;
        found[k] = at(dx, (size_t)place);
        checks++;
        if (!(fabs(found[k] - expected[k]) <= (single ? 1e-3 : 1e-6))) {
            failures++;
            printf("gradient of %s: %g, not %g\n", net->cell, found[k], expected[k]);
        }
    }
    for (size_t k = 0; k < (size_t)(TIME * BATCH * INPUTS) * (single ? 4 : 8); k++)
        hash = (hash ^ ((unsigned char *)dx)[k]) * UINT64_C(1099511628211);
    void *all[] = {x, dx, y, extra, dextra, gates, dgates, dy};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        free(all[k]);
    for (int k = 0; k < 6; k++)
        free(states[k]);
}

static void check_cell(const char *cell, int gates) {
    const size_t size = TIME * BATCH * HIDDEN;
    struct net net = {cell,
                      gates,
                      draw(4 * HIDDEN * INPUTS, 0.4),
                      draw(4 * HIDDEN * HIDDEN, 0.2),
                      draw(4 * HIDDEN, 1),
                      draw(HIDDEN, 1),
                      draw(TIME * BATCH * INPUTS, 2),
                      draw(size, 1)};
    double *expected = malloc(size * sizeof(double)), *scratch = malloc(size * sizeof(double));
    for (ptrdiff_t row = 0; row < BATCH; row++)
        reference(&net, net.x, row, expected);
    void *w_ih = given(net.w_ih, (size_t)(gates * HIDDEN * INPUTS));
    void *w_hh = given(net.w_hh, (size_t)(gates * HIDDEN * HIDDEN));
    void *bias = given(net.bias, (size_t)(gates * HIDDEN)), *bias_hn = given(net.bias_hn, HIDDEN);
    void *x = given(net.x, TIME * BATCH * INPUTS), *y = given(NULL, size);
    void *h = given(NULL, BATCH * HIDDEN), *c = given(NULL, BATCH * HIDDEN);
    const gw_activation gate = {"sigmoid", 0, 0}, value = {"tanh", 0, 0};
    const gw_weights weights = {.cell = cell,
                                .format = single ? "float32" : "float64",
                                .gate = gate,
                                .candidate = value,
                                .output = value,
                                .rows = gates * HIDDEN,
                                .input_size = INPUTS,
                                .output_size = HIDDEN,
                                .w_ih = w_ih,
                                .w_hh = w_hh,
                                .bias = bias,
                                .bias_hn = gates == 3 ? bias_hn : NULL};
    const gw_sequence sequence = {.time = TIME, .batch = BATCH};
    const gw_state state = {h, gates == 4 ? c : NULL};
    gw_packed *packed = NULL;
    gw_status status = kernels->pack(&weights, &packed);
    if (!status)
        status = kernels->infer(packed, &sequence, rows_of(x, INPUTS), state, rows_of(y, HIDDEN),
                                rows_of(NULL, HIDDEN), threads);
    if (status) {
        printf("%s: status %d\n", cell, (int)status);
        failures++;
        return;
    }
    compare(cell, y, expected, size);
    check_gradients(&net, packed, scratch);
    kernels->release(packed);
    void *all[] = {net.w_ih, net.w_hh, net.bias, net.bias_hn, net.x, net.weight, expected, scratch,
                   w_ih,     w_hh,     bias,     bias_hn,     x,     y,          h,        c};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        free(all[k]);
}

static void check_linear(ptrdiff_t inputs, ptrdiff_t outputs, ptrdiff_t rows) {
    const size_t results = (size_t)(rows * outputs);
    double *w = draw((size_t)(inputs * outputs), 1), *b = draw((size_t)outputs, 1),
           *x = draw((size_t)(rows * inputs), 1);
    double *expected = calloc(results, sizeof(double));
    for (ptrdiff_t r = 0; r < rows; r++) {
        for (ptrdiff_t o = 0; o < outputs; o++) {
            expected[r * outputs + o] = b[o];
            for (ptrdiff_t k = 0; k < inputs; k++)
                expected[r * outputs + o] += w[o * inputs + k] * x[r * inputs + k];
        }
    }
    void *weight = given(w, (size_t)(inputs * outputs)), *bias = given(b, (size_t)outputs);
    void *from = given(x, (size_t)(rows * inputs)), *to = given(NULL, results);
    gw_linear *packed = NULL;
    gw_status status = kernels->pack_linear(inputs, outputs, NULL, weight, NULL, bias, 0, &packed);
    if (!status)
        status =
            kernels->linear(packed, block_of(from, 1, rows, inputs), block_of(to, 1, rows, outputs), threads);
    failures += status != GW_OK;
    compare("linear", to, expected, results);
    kernels->release_linear(packed);
    void *all[] = {w, b, x, expected, weight, bias, from, to};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        free(all[k]);
}

static void check_activations(void) {
    enum { COUNT = 1003, CLASSES = 17 };
    double *z = draw(COUNT, 20), *expected = malloc(COUNT * sizeof(double)), total = 0;
    void *from = given(z, COUNT), *to = given(NULL, COUNT);
    for (int k = 0; k < COUNT; k++)
        expected[k] = logistic(z[k]);
    failures += kernels->sigmoid(from, to, COUNT) != GW_OK;
    compare("sigmoid", to, expected, COUNT);
    for (int k = 0; k < COUNT; k++)
        expected[k] = tanh(z[k]);
    failures += kernels->tanh(from, to, COUNT) != GW_OK;
    compare("tanh", to, expected, COUNT);
    for (int row = 0; row < COUNT / CLASSES; row++) {
        total = 0;
        for (int k = 0; k < CLASSES; k++)
            total += exp(z[row * CLASSES + k]);
        for (int k = 0; k < CLASSES; k++)
            expected[row * CLASSES + k] = exp(z[row * CLASSES + k]) / total;
    }
    failures += kernels->softmax(from, to, COUNT / CLASSES, CLASSES) != GW_OK;
    compare("softmax", to, expected, COUNT / CLASSES * CLASSES);
    free(z);
    free(expected);
    free(from);
    free(to);
}

int main(void) {
    const char *name;
    for (int k = 0; (name = gw_instruction_set_at(k)) != NULL; k++) {
        gw_choose_instruction_set(name);
        for (single = 0; single < 2; single++) {
            kernels = gw_get_kernels(single);
            for (threads = 1; threads <= 3; threads += 2) {
                hash = UINT64_C(14695981039346656037);
                random_state = 1;
                check_cell("rnn", 1);
                check_cell("lstm", 4);
                check_cell("gru", 3);
                check_linear(100, 3, 37);
                check_linear(700, 31, 37);
                check_linear(90, 70, 37);
                check_activations();
                printf("%s %s %d: %08lx%08lx\n", name, single ? "single" : "double", threads,
                       (unsigned long)(hash >> 32), (unsigned long)(hash & 0xffffffffu));
            }
        }
    }
    printf("%d checks, %d failed\n", checks, failures);
    return failures > 0;
}
