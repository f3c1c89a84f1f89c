// The mLSTM for x86 processors with AVX2 and FMA.
#define RECURRA_ISA avx2
#define RECURRA_USE_AVX2
#include "matrices.inc.h"
