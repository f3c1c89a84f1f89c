// The mLSTM with whatever the compiler's baseline offers: any processor, Arm among them.
#define RECURRA_ISA portable
#include "matrices.inc.h"
