/* A tracking loss through a chain of coupled Duffing oscillators and its gradient: Verlet forward, then the
   discrete adjoint backward through the stored positions. Eight samples at a time, one in each lane; arrays are
   aligned to 64 bytes: state [block][site][lane], targets [block][step][lane], path (steps + 1)[site][lane]. */

enum { LANES = 8, SITES = 16 };
typedef double lanes __attribute__((vector_size(8 * LANES)));

typedef struct {
    const double *m, *k, *c, *g; /* masses, springs, quartic springs, couplings to the next site */
} theta;

static inline double sum(lanes a)
{
    double total = 0;
    for (int i = 0; i < LANES; i++)
        total += a[i];
    return total;
}

static inline void kick(double h, theta a, const lanes *q, lanes *p)
{
    lanes from_left = {0};
    for (int i = 0; i < SITES; i++) {
        lanes f = -q[i] * (a.k[i] + a.c[i] * q[i] * q[i]) - from_left;
        if (i + 1 < SITES) {
            from_left = a.g[i] * (q[i + 1] - q[i]);
            f += from_left;
        }
        p[i] += h * f;
    }
}

/* End states, in place of the initial ones. */
void forward(long blocks, long steps, double h, const double *m, const double *k, const double *c, const double *g,
             double *q_all, double *p_all)
{
    theta a = {m, k, c, g};
    double drift[SITES];
    for (int i = 0; i < SITES; i++)
        drift[i] = h / m[i];
    for (long b = 0; b < blocks; b++) {
        lanes *begin_q = (lanes *)q_all + b * SITES, *begin_p = (lanes *)p_all + b * SITES, q[SITES], p[SITES];
        for (int i = 0; i < SITES; i++)
            q[i] = begin_q[i], p[i] = begin_p[i];
        kick(0.5 * h, a, q, p);
        for (long s = 1; s <= steps; s++) {
            for (int i = 0; i < SITES; i++)
                q[i] += drift[i] * p[i];
            kick(s < steps ? h : 0.5 * h, a, q, p);
        }
        for (int i = 0; i < SITES; i++)
            begin_q[i] = q[i], begin_p[i] = p[i];
    }
}

/* result: the loss, then its derivatives with respect to m, k, c and g. */
void gradient(long blocks, long steps, double h, const double *m, const double *k, const double *c, const double *g,
              const double *q_all, const double *p_all, const double *targets, double *room, double *result)
{
    theta a = {m, k, c, g};
    double drift[SITES];
    lanes loss = {0}, zero = {0}, gm[SITES], gk[SITES], gc[SITES], gg[SITES];
    for (int i = 0; i < SITES; i++) {
        drift[i] = h / m[i];
        gm[i] = gk[i] = gc[i] = gg[i] = zero;
    }
    for (long b = 0; b < blocks; b++) {
        const lanes *begin_q = (const lanes *)q_all + b * SITES, *begin_p = (const lanes *)p_all + b * SITES;
        const lanes *y = (const lanes *)targets + b * steps;
        lanes *path = (lanes *)room, p[SITES], u[SITES], v[SITES];
        for (int i = 0; i < SITES; i++)
            path[i] = begin_q[i], p[i] = begin_p[i];
        for (long s = 0; s < steps; s++) {
            lanes *now = path + s * SITES, *next = now + SITES;
            kick(s ? h : 0.5 * h, a, now, p);
            for (int i = 0; i < SITES; i++)
                next[i] = now[i] + drift[i] * p[i];
            lanes miss = next[SITES - 1] - y[s];
            loss += miss * miss;
        }
        for (int i = 0; i < SITES; i++)
            u[i] = v[i] = zero; /* derivatives with respect to q and p */
        for (long s = steps; s-- > 0;) {
            const lanes *now = path + s * SITES, *next = now + SITES;
            double length = s ? h : 0.5 * h;
            u[SITES - 1] += h * (next[SITES - 1] - y[s]);
            for (int i = 0; i < SITES; i++) {
                gm[i] -= u[i] * (next[i] - now[i]);
                v[i] += drift[i] * u[i];
            }
            lanes from_left = zero;
            for (int i = 0; i < SITES; i++) {
                lanes w = length * v[i], square = now[i] * now[i], wq = w * now[i];
                gk[i] -= wq;
                gc[i] -= wq * square;
                lanes change = -w * (a.k[i] + 3 * a.c[i] * square) - from_left;
                if (i + 1 < SITES) {
                    lanes apart = length * (v[i + 1] - v[i]);
                    gg[i] -= apart * (now[i + 1] - now[i]);
                    from_left = a.g[i] * apart;
                    change += from_left;
                }
                u[i] += change;
            }
        }
    }
    *result++ = 0.5 * h * sum(loss);
    for (int i = 0; i < SITES; i++) {
        result[i] = sum(gm[i]) / m[i];
        result[SITES + i] = sum(gk[i]);
        result[2 * SITES + i] = sum(gc[i]);
        if (i + 1 < SITES)
            result[3 * SITES + i] = sum(gg[i]);
    }
}
