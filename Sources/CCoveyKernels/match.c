// How unlike two windows of 8-bit pictures are, but for a brightness that all of one
// window has more: sums of absolute differences after their mean is taken off.  Whole
// numbers throughout, so every CPU gives the same.
#include "CCoveyKernels.h"

enum { CV_MATCH_WIDTH = 16, CV_MATCH_AREA = CV_MATCH_WIDTH * CV_MATCH_WIDTH };

// The whole number nearest to sum / count, halves away from zero.
static int32_t mean(int32_t sum, int32_t count) {
  return sum >= 0 ? (sum + count / 2) / count : -((-sum + count / 2) / count);
}

static uint32_t about_mean(const int16_t *differences, int32_t count) {
  int32_t sum = 0, deviation = 0;
  for (int32_t i = 0; i < count; i++) sum += differences[i];
  int16_t middle = (int16_t)mean(sum, count);
  for (int32_t i = 0; i < count; i++) {
    int16_t value = (int16_t)(differences[i] - middle);
    deviation += value < 0 ? -value : value;
  }
  return (uint32_t)deviation;
}

uint32_t cv_match(const uint8_t *a, size_t a_stride, const uint8_t *b, size_t b_stride,
                  size_t width, size_t height) {
  int16_t differences[CV_MATCH_AREA];
  int16_t *out = differences;
  if (width == CV_MATCH_WIDTH) {
    for (size_t y = 0; y < height; y++, a += a_stride, b += b_stride, out += CV_MATCH_WIDTH) {
      for (size_t x = 0; x < CV_MATCH_WIDTH; x++) out[x] = (int16_t)(b[x] - a[x]);
    }
  } else {
    for (size_t y = 0; y < height; y++, a += a_stride, b += b_stride, out += width) {
      for (size_t x = 0; x < width; x++) out[x] = (int16_t)(b[x] - a[x]);
    }
  }
  return about_mean(differences, (int32_t)(width * height));
}

uint32_t cv_match_between(const uint8_t *a, size_t a_stride, const uint8_t *b, size_t b_stride,
                          size_t width, size_t height, unsigned right, unsigned down) {
  int16_t differences[CV_MATCH_AREA];
  int16_t *out = differences;
  uint16_t w00 = (uint16_t)((16 - right) * (16 - down)), w01 = (uint16_t)(right * (16 - down));
  uint16_t w10 = (uint16_t)((16 - right) * down), w11 = (uint16_t)(right * down);
  for (size_t y = 0; y < height; y++, a += a_stride, b += b_stride, out += width) {
    // Where a weight is 0, what it weighs may lie outside the picture.
    const uint8_t *under = down ? b + b_stride : b;
    size_t next = right ? 1 : 0;
    for (size_t x = 0; x < width; x++) {
      uint16_t value = (uint16_t)(w00 * b[x] + w01 * b[x + next] + w10 * under[x] +
                                  w11 * under[x + next]);
      out[x] = (int16_t)((value + 8) / 16 - 16 * a[x]);  // in 1 / 16
    }
  }
  return about_mean(differences, (int32_t)(width * height));
}

void cv_halve(const uint8_t *picture, size_t width, size_t height, uint8_t *half) {
  for (size_t y = 0; y < height / 2; y++) {
    const uint8_t *above = picture + 2 * y * width, *below = above + width;
    uint8_t *out = half + y * (width / 2);
    for (size_t x = 0; x < width / 2; x++) {
      out[x] = (uint8_t)((above[2 * x] + above[2 * x + 1] + below[2 * x] + below[2 * x + 1] + 2) / 4);
    }
  }
}
