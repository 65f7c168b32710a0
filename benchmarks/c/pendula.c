/* Verlet steps of many pendula, force -k sin(q), mass 1/r. Blocks small enough for the first cache
   make all their steps before the next block begins. */
#include <math.h>

enum { BLOCK = 256 };

static void kick(long n, double a, const double *restrict q, double *restrict p)
{
    for (long i = 0; i < n; i++)
        p[i] -= a * sin(q[i]);
}

static void drift_kick(long n, double hr, double a, double *restrict q, double *restrict p)
{
    for (long i = 0; i < n; i++) {
        double moved = q[i] + hr * p[i];
        q[i] = moved;
        p[i] -= a * sin(moved);
    }
}

void pendula(long batch, long steps, double h, double r, double k, double *q, double *p)
{
    for (long first = 0; first < batch; first += BLOCK) {
        long n = batch - first < BLOCK ? batch - first : BLOCK;
        kick(n, 0.5 * h * k, q + first, p + first);
        for (long s = 1; s < steps; s++)
            drift_kick(n, h * r, h * k, q + first, p + first);
        drift_kick(n, h * r, 0.5 * h * k, q + first, p + first);
    }
}
