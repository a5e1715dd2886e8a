// Elementwise activations: a = f(z) and da / dz, as `fastnet.functions` defines them.
#pragma once
#include "numbers.cuh"

// As in layout.py.
enum { IDENTITY, RELU, SIGMOID, TANH, LEAKY_RELU, ELU, SOFTPLUS, SILU, GELU, TANH_GELU };

__device__ __forceinline__ real sigmoid(real z) { return 1 / (1 + exp_(-z)); }

// max(z, 0) + log(1 + exp(-|z|)), which does not overflow.
__device__ __forceinline__ real softplus(real z) {
  return (z < 0 ? (real)0 : z) + log1p_(exp_(-abs_(z)));
}

// The standard normal's distribution function: erfc keeps the digits of the lower tail. There a
// rounded argument would cost float32 most of them, so what rounding took off it is put back, by
// erfc's derivative.
__device__ __forceinline__ double normal_cdf(double z) {
  return 0.5 * erfc(z * -0.70710678118654752440);
}
__device__ __forceinline__ float normal_cdf(float z) {
  float x = z * -0.707106769f;                                     // -sqrt(1/2) in float32,
  float rest = fmaf(z, -0.707106769f, -x) + z * -1.21016172e-8f;  // and what it leaves out
  float back = isinf(z) ? 0.f : 1.12837917f * expf(-x * x) * rest;
  return 0.5f * (erfcf(x) - back);
}

// sqrt(2 / pi) and Hendrycks and Gimpel's constant, for GELU by tanh.
#define GELU_C ((real)0.79788456080286535588)
#define GELU_K ((real)0.044715)

// The slope's argument is cut at 30, where tanh is 1 to the last digit: z^2 could overflow.
__device__ __forceinline__ real within_30(real z) {
  return z > 30 ? (real)30 : (z < -30 ? (real)-30 : z);
}

// a = f(z). `below` and `above` are the constants of f's two sides.
__device__ __forceinline__ real activated(int code, real z, real below, real above) {
  switch (code) {
    case RELU:
      return z < 0 ? (real)0 : z;
    case SIGMOID:
      return sigmoid(z);
    case TANH:
      return tanh_(z);
    case LEAKY_RELU:
      return z <= 0 ? below * z : z;
    case ELU:
      return z > 0 ? above * z : below * expm1_(z);
    case SOFTPLUS:
      return softplus(z);
    case SILU:
      return z * sigmoid(z);
    case GELU:
      return z * normal_cdf(z);
    case TANH_GELU: {
      real u = within_30(z);
      return (real)0.5 * z * (1 + tanh_(GELU_C * (u + GELU_K * u * u * u)));
    }
    default:
      return z;
  }
}

// Whether da / dz can be told from a alone, so that z need not be kept.
__device__ __forceinline__ bool tells_slope(int code) {
  return code <= LEAKY_RELU;
}

// da / dz from a, for those.
__device__ __forceinline__ real slope_of(int code, real a, real below) {
  switch (code) {
    case RELU:
      return a > 0 ? (real)1 : (real)0;
    case SIGMOID:
      return a * (1 - a);
    case TANH:
      return 1 - a * a;
    case LEAKY_RELU:
      return a <= 0 ? below : (real)1;
    default:
      return 1;
  }
}

// da / dz from z and a, for any.
__device__ __forceinline__ real slope_at(int code, real z, real a, real below, real above) {
  switch (code) {
    case ELU:
      return z > 0 ? above : below * exp_(z);
    case SOFTPLUS:
      return sigmoid(z);
    case SILU: {
      real s = sigmoid(z);
      return s + a * (1 - s);
    }
    case GELU:
      return normal_cdf(z) + z * (real)0.39894228040143267794 * exp_((real)-0.5 * z * z);
    case TANH_GELU: {
      real u = within_30(z);
      real h = tanh_(GELU_C * (u + GELU_K * u * u * u));
      return (real)0.5 * (1 + h) +
             (real)0.5 * u * (1 - h * h) * GELU_C * (1 + 3 * GELU_K * u * u);
    }
    default:
      return slope_of(code, a, below);
  }
}
