/* The totals of vectors of 256 bits, which AVX-512 too has its halves added to. */
#ifndef GATEWISE_TOTALS_AVX_H
#define GATEWISE_TOTALS_AVX_H

#include <immintrin.h>

#if SINGLE
INLINE void totals_of_256(__m256 a, __m256 b, __m256 c, __m256 d, float *totals) {
    const __m256 ab = _mm256_add_ps(_mm256_permute2f128_ps(a, b, 0x20), _mm256_permute2f128_ps(a, b, 0x31));
    const __m256 cd = _mm256_add_ps(_mm256_permute2f128_ps(c, d, 0x20), _mm256_permute2f128_ps(c, d, 0x31));
    /* a c | b d, in pairs and then alone. */
    const __m256 pairs = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    const __m256 sums =
        _mm256_add_ps(_mm256_shuffle_ps(pairs, pairs, 0x88), _mm256_shuffle_ps(pairs, pairs, 0xdd));
    _mm_storeu_ps(totals, _mm_unpacklo_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1)));
}
#else
INLINE void totals_of_256(__m256d a, __m256d b, __m256d c, __m256d d, double *totals) {
    const __m256d ab = _mm256_add_pd(_mm256_permute2f128_pd(a, b, 0x20), _mm256_permute2f128_pd(a, b, 0x31));
    const __m256d cd = _mm256_add_pd(_mm256_permute2f128_pd(c, d, 0x20), _mm256_permute2f128_pd(c, d, 0x31));
    /* a c | b d */
    const __m256d sums = _mm256_add_pd(_mm256_unpacklo_pd(ab, cd), _mm256_unpackhi_pd(ab, cd));
    _mm256_storeu_pd(totals, _mm256_permute4x64_pd(sums, 0xd8));
}
#endif

#endif
