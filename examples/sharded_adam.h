/*
 * What the examples with a sharded Adam learn: a small network, one sample at a time, and Adam on a
 * block of its parameters.
 *
 * SPDX-License-Identifier: Apache-2.0
 */
#ifndef EXAMPLES_SHARDED_ADAM_H
#define EXAMPLES_SHARDED_ADAM_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

enum { INPUTS = 6, HIDDEN = 20, PARAMETERS = HIDDEN * (INPUTS + 2) + 1 };

#define RATE 0.01

/* Sample `index`: inputs that follow from its number, and a target that follows from them. */
static inline double make_sample(uint64_t index, double *inputs)
{
    double sum = 0;
    for (int i = 0; i < INPUTS; i++) {
        uint64_t bits = (index * INPUTS + (uint64_t)i + 1) * UINT64_C(0x9e3779b97f4a7c15);
        inputs[i] = (double)(bits >> 11) / 9007199254740992.0 * 2 - 1;
        sum += inputs[i] * (i + 1);
    }
    return sin(sum) + inputs[0] * inputs[1];
}

/* One hidden layer. Adds the gradient of this sample's squared error up; returns the error. */
static inline double learn(const double *parameters, uint64_t index, double *gradient)
{
    const double *in = parameters, *bias = in + HIDDEN * INPUTS, *out = bias + HIDDEN;
    double inputs[INPUTS], hidden[HIDDEN], target = make_sample(index, inputs), sum = out[HIDDEN];
    for (int h = 0; h < HIDDEN; h++) {
        double at = bias[h];
        for (int i = 0; i < INPUTS; i++)
            at += in[h * INPUTS + i] * inputs[i];
        hidden[h] = tanh(at);
        sum += out[h] * hidden[h];
    }
    double error = sum - target;
    for (int h = 0; h < HIDDEN; h++) {
        double back = error * out[h] * (1 - hidden[h] * hidden[h]);
        for (int i = 0; i < INPUTS; i++)
            gradient[h * INPUTS + i] += back * inputs[i];
        gradient[HIDDEN * INPUTS + h] += back;
        gradient[HIDDEN * (INPUTS + 1) + h] += error * hidden[h];
    }
    gradient[PARAMETERS - 1] += error;
    return error * error / 2;
}

/* Adam (Kingma and Ba, ICLR 2015) on a block. `gradient` is a sum over `samples` samples. */
static inline void adam(double *parameters, const double *gradient, double *moments, size_t count,
                        double samples, uint64_t step)
{
    double *first = moments, *second = moments + count;
    double correct1 = 1 - pow(0.9, (double)step + 1), correct2 = 1 - pow(0.999, (double)step + 1);
    for (size_t i = 0; i < count; i++) {
        double mean = gradient[i] / samples;
        first[i] = 0.9 * first[i] + 0.1 * mean;
        second[i] = 0.999 * second[i] + 0.001 * mean * mean;
        parameters[i] -= RATE * (first[i] / correct1) / (sqrt(second[i] / correct2) + 1e-8);
    }
}

#endif
