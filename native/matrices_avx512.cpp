// The mLSTM for x86 processors with AVX-512 (F, BW, DQ, VL).
#define RECURRA_ISA avx512
#define RECURRA_USE_AVX512
#include "matrices.inc.h"
