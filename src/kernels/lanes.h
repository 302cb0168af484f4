#pragma once

// The widest vectors of the processor that the file is compiled for.
#if defined(__AVX512F__)
#include "lanes_avx512.h"
#elif defined(__AVX2__) && defined(__FMA__)
#include "lanes_avx2.h"
#else
#include "lanes_portable.h"
#endif

/// `Lanes` says what the vectors of tiles.h are. It is a struct of an unnamed namespace, and so is
/// what is made of it (Note [Files of an implementation] in tables.h says why):
///
///   Lane            a vector of kWidth floats
///   load, store     of one, at any address
///   broadcast       a float to all of it
///   fma, add, multiply
///   transpose(x, ld, rows, y, ldy): y(j, i) = x(i, j), i < rows <= kSquare, j < kSquare
///   kTileRows       rows of a tile whose sums stay in registers
