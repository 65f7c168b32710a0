/* Verlet steps of a chain between two walls. q has a wall (zero) before its first and after its last
   mass; f is room for the n + 1 bond forces. */

static void bonds(long n, double beta, const double *restrict q, double *restrict f)
{
    for (long i = 0; i <= n; i++) {
        double d = q[i + 1] - q[i];
        f[i] = d + beta * d * d * d;
    }
}

static void kick(long n, double h, const double *restrict f, double *restrict p)
{
    for (long i = 0; i < n; i++)
        p[i] += h * (f[i + 1] - f[i]);
}

static void kick_drift(long n, double h, const double *restrict f, double *restrict q, double *restrict p)
{
    for (long i = 0; i < n; i++) {
        double kicked = p[i] + h * (f[i + 1] - f[i]);
        p[i] = kicked;
        q[i + 1] += h * kicked;
    }
}

void chain(long n, long steps, double h, double beta, double *q, double *p, double *f)
{
    bonds(n, beta, q, f);
    kick(n, -0.5 * h, f, p);
    for (long s = 0; s < steps; s++) {
        kick_drift(n, h, f, q, p);
        bonds(n, beta, q, f);
    }
    kick(n, 0.5 * h, f, p);
}
