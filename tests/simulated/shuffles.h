// What lanes of a warp tell each other: shuffles and votes.
#pragma once
#include "block.h"

namespace fn_host {

// Each lane hears its source; one that is not there says NaN.
FN_UNSEEN static void shuffle(Warp &warp, unsigned lanes) {
  for (unsigned rest = lanes; rest; rest &= rest - 1) {
    Lane &lane = warp.lanes[__builtin_ctz(rest)];
    bool there = lanes >> lane.source & 1;
    for (int i = 0; i < 2; i++)
      lane.out[i] = there ? warp.lanes[lane.source].in[i] : 0xffffffffu;
  }
}

// Each lane gets a bit of every lane.
FN_UNSEEN static void vote(Warp &warp, unsigned lanes) {
  uint32_t votes = 0;
  for (unsigned rest = lanes; rest; rest &= rest - 1)
    votes |= (uint32_t)(warp.lanes[__builtin_ctz(rest)].in[0] != 0) << __builtin_ctz(rest);
  for (unsigned rest = lanes; rest; rest &= rest - 1)
    warp.lanes[__builtin_ctz(rest)].out[0] = votes;
}

// The value of lane `source`, or this lane's own if that lies outside its group.
template <class T>
static inline T heard(unsigned mask, T value, int source, bool within, Place place) {
  static_assert(sizeof(T) == 4 || sizeof(T) == 8, "4 or 8 bytes");
  Lane &lane = own_lane();
  memcpy(lane.in, &value, sizeof value);
  lane.source = within ? (unsigned)source : threadIdx.x % LANES;
  barrier(shuffle, mask, place);
  memcpy(&value, lane.out, sizeof value);
  return value;
}

static inline int lane_number() { return (int)(threadIdx.x % LANES); }
static inline int group_start(int width) { return lane_number() & ~(width - 1); }

}  // namespace fn_host

template <class T>
static inline T __shfl_sync(unsigned mask, T value, int source, int width = 32,
                            fn_host::Place place = fn_host::here()) {
  int from = fn_host::group_start(width) + (source & (width - 1));
  return fn_host::heard(mask, value, from, true, place);
}

template <class T>
static inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32,
                                fn_host::Place place = fn_host::here()) {
  int from = fn_host::lane_number() ^ bits;
  return fn_host::heard(mask, value, from, from < fn_host::group_start(width) + width, place);
}

template <class T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned apart, int width = 32,
                                 fn_host::Place place = fn_host::here()) {
  int from = fn_host::lane_number() + (int)apart;
  return fn_host::heard(mask, value, from, from < fn_host::group_start(width) + width, place);
}

template <class T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned apart, int width = 32,
                               fn_host::Place place = fn_host::here()) {
  int from = fn_host::lane_number() - (int)apart;
  return fn_host::heard(mask, value, from, from >= fn_host::group_start(width), place);
}

static inline unsigned __ballot_sync(unsigned mask, int predicate,
                                     fn_host::Place place = fn_host::here()) {
  fn_host::Lane &lane = fn_host::own_lane();
  lane.in[0] = predicate != 0;
  fn_host::barrier(fn_host::vote, mask, place);
  return lane.out[0];
}

static inline int __any_sync(unsigned mask, int predicate,
                             fn_host::Place place = fn_host::here()) {
  return __ballot_sync(mask, predicate, place) != 0;
}

static inline int __all_sync(unsigned mask, int predicate,
                             fn_host::Place place = fn_host::here()) {
  return __ballot_sync(mask, !predicate, place) == 0;
}
