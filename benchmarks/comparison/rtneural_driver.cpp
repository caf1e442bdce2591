// One recurrent layer of RTNeural over one sequence. It knows its size when compiled:
// LAYER, INPUTS and UNITS are defined on the command line.

#include <RTNeural/RTNeural.h>

#include <algorithm>
#include <vector>

namespace {
using Layer = RTNeural::LAYER<float, INPUTS, UNITS>;
using Model = RTNeural::ModelT<float, INPUTS, UNITS, Layer>;
using Rows = std::vector<std::vector<float>>;

Rows rows(const float *values, int count, int length) {
    Rows result;
    for (int row = 0; row < count; ++row)
        result.emplace_back(values + row * length, values + (row + 1) * length);
    return result;
}

// One vector of biases, or one for the input and one for h.
void set_biases(Layer &layer, const float *values, int gates) {
#ifdef TWO_BIASES
    layer.setBVals(rows(values, 2, gates * UNITS));
#else
    layer.setBVals(std::vector<float>(values, values + gates * UNITS));
#endif
}
} // namespace

// The matrices come transposed, (INPUTS, gates * UNITS) and (UNITS, gates * UNITS).
extern "C" void *layer_make(const float *w, const float *u, const float *b, int gates) {
    auto *model = new Model;
    Layer &layer = model->template get<0>();
    layer.setWVals(rows(w, INPUTS, gates * UNITS));
    layer.setUVals(rows(u, UNITS, gates * UNITS));
    set_biases(layer, b, gates);
    return model;
}

extern "C" void layer_run(void *handle, const float *x, int steps, float *y) {
    auto *model = static_cast<Model *>(handle);
    // Whole vectors of it are read.
    alignas(64) float row[(INPUTS + 15) / 16 * 16] = {};
    model->reset();
    for (int step = 0; step < steps; ++step) {
        std::copy(x + step * INPUTS, x + (step + 1) * INPUTS, row);
        model->forward(row);
        std::copy(model->getOutputs(), model->getOutputs() + UNITS, y + step * UNITS);
    }
}
