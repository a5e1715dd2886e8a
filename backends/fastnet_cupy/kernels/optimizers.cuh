// The optimizers' updates of one parameter, as `fastnet.optimizers` defines them.
#pragma once
#include "numbers.cuh"

// As in control.py.
enum { SGD, MOMENTUM, NESTEROV, ADAM, RMSPROP, ADAGRAD, RPROP, LION };

// What a step's row of `rates` holds: the learning rate (Adam: over 1 - beta1^t), Adam's
// 1 / sqrt(1 - beta2^t), and what weight decay leaves of a parameter.
enum { RATE, WIDEN, STAY, RATES };

// An optimizer: its constants, as control.py lists them, and a step's rates.
struct Rule {
  int code;
  real c[5];
  real rate, widen, stay;

  __device__ __forceinline__ Rule(int code, const double *constants) : code(code) {
#pragma unroll
    for (int i = 0; i < 5; i++) c[i] = (real)constants[i];
  }
  __device__ __forceinline__ void take(const double *rates) {
    rate = (real)rates[RATE];
    widen = (real)rates[WIDEN];
    stay = (real)rates[STAY];
  }
};

// Move a parameter `p` by its gradient `g`; `m` and `n` are the two numbers of its memory.
__device__ __forceinline__ void update(const Rule &rule, real &p, real g, real &m, real &n) {
  const real(&c)[5] = rule.c;
  real rate = rule.rate;
  switch (rule.code) {
    case SGD:
      p -= rate * g;
      break;
    case MOMENTUM:
      m = c[0] * m + g;
      p -= rate * m;
      break;
    case NESTEROV:
      m = c[0] * m + g;
      p -= rate * (g + c[0] * m);
      break;
    case ADAM:
      m = c[0] * m + c[1] * g;
      n = c[2] * n + c[3] * (g * g);
      p = rule.stay * p -
          rate * (m / (sqrt_(n) * rule.widen + c[4]));
      break;
    case RMSPROP: {
      m = c[0] * m + c[1] * (g * g);
      real step = g / (sqrt_(m) + c[2]);
      if (c[3] != 0) {
        n = c[3] * n + step;
        step = n;
      }
      p -= rate * step;
      break;
    }
    case ADAGRAD:
      m += g * g;
      p -= rate * (g / (sqrt_(m) + c[0]));
      break;
    case RPROP: {
      real turned = sign_(m) * sign_(g);
      real grown = n * (turned > 0 ? c[0] : (turned < 0 ? c[1] : (real)1));
      n = grown < c[2] ? c[2] : (grown > c[3] ? c[3] : grown);
      m = turned < 0 ? (real)0 : g;
      p -= sign_(m) * n;
      break;
    }
    default:  // Lion
      p = rule.stay * p - rate * sign_(c[0] * m + c[1] * g);
      m = c[2] * m + c[3] * g;
  }
}

// What the objective adds to a loss and does to a gradient, as control.py lists it.
enum { L1, L2, CLIP_VALUE, CLIP_NORM, OBJECTIVE };

// An entry of a gradient cut to [-limit, limit]; NaN stays.
__device__ __forceinline__ real clipped(real g, real limit) {
  return g > limit ? limit : (g < -limit ? -limit : g);
}

// Squares of a gradient's entries, and of the same entries times SHRINK: the first sum overflows
// beyond 1e154, where the second is still finite.
#define SHRINK 7.458340731200207e-155  // 2^-512

// What the gradient is multiplied with, so that it is no longer than `limit`.
__device__ __forceinline__ double norm_factor(double squares, double shrunk, double limit) {
  double length = isinf(squares) ? sqrt(shrunk) / SHRINK : sqrt(squares);
  return length > limit ? limit / length : 1.0;
}
