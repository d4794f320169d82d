/* mandelbrot.c - the Mandelbrot set, tile by tile, as a PNG.
 *
 * The tiles are of very uneven cost: a point outside the set leaves after a few iterations, one
 * inside takes all of them. Nothing in here balances them: that is the scheduler's work.
 */
#include "options.h"

#include <ladle.h>
#include <png.h>
#include <time.h>

#define MOST_WORKERS 256 /* that --where tells apart */

static uint64_t width = 1600, height = 1200, tile_size = 64, iterations = 2000;
static uint64_t slots; /* 0: wherever the session leads */
static const char *file = "mandelbrot.png";
static bool where;

static const struct option_row option_rows[] = {
    {'x', "width", "PIXELS", "Of the image (default 1600)", .number = &width, 1, 20000},
    {'y', "height", "PIXELS", "Of the image (default 1200)", .number = &height, 1, 20000},
    {'t', "tile", "PIXELS", "Of a tile, a task each (default 64)", .number = &tile_size, 1, 4096},
    {'i', "iterations", "N", "Most for a point (default 2000)", .number = &iterations, 1, 1 << 30},
    {'s', "slots", "N", "Use a pool of N slots on this machine", .number = &slots, 1, 1024},
    {'o', "output", "FILE", "The image (default mandelbrot.png)", .text = &file},
    {'w', "where", NULL, "Tell how many tiles each worker drew", .flag = &where},
    {0},
};
static const struct command command = {
    "mandelbrot", "", "Draw the Mandelbrot set, tile by tile, into a PNG.", option_rows};

struct tile { /* an input; the result is its pixels, 3 bytes each, row by row */
    uint32_t left, top, width, height;
    uint32_t image_width, image_height, iterations;
};

static unsigned
escape_time(double re, double im, unsigned most)
{
    double x = 0, y = 0, xx = 0, yy = 0;
    unsigned n;

    for (n = 0; n < most && xx + yy <= 4; n++) {
        y = 2 * x * y + im;
        x = xx - yy + re;
        xx = x * x;
        yy = y * y;
    }
    return n;
}

static uint8_t
wave(unsigned phase) /* up and down again in 512 steps */
{
    phase %= 512;
    return (uint8_t)(phase < 256 ? phase : 511 - phase);
}

/* The task. */
static int
render(task_t *task)
{
    struct tile t;
    uint8_t *pixel;

    if (task_read(task, &t, sizeof(t)) != 0)
        return task_fail(task, "expected a tile, got %zu bytes", task_input_size(task));
    if ((pixel = task_output(task, (size_t)3 * t.width * t.height)) == NULL)
        return task_fail(task, "no room for %u times %u pixels", t.width, t.height);
    for (unsigned row = t.top; row < t.top + t.height; row++)
        for (unsigned column = t.left; column < t.left + t.width; column++) {
            double scale = 3.0 / t.image_width;
            unsigned n = escape_time(-2.25 + scale * column, scale * (0.5 * t.image_height - row),
                                     t.iterations);

            *pixel++ = n == t.iterations ? 0 : wave(3 * n);
            *pixel++ = n == t.iterations ? 0 : wave(7 * n);
            *pixel++ = n == t.iterations ? 0 : wave(64 + 12 * n);
        }
    return 0;
}
TASK(render)

static struct tile
tile_at(uint64_t index)
{
    uint64_t columns = (width + tile_size - 1) / tile_size;
    uint64_t left = index % columns * tile_size, top = index / columns * tile_size;

    return (struct tile){
        .left = (uint32_t)left,
        .top = (uint32_t)top,
        .width = (uint32_t)(left + tile_size < width ? tile_size : width - left),
        .height = (uint32_t)(top + tile_size < height ? tile_size : height - top),
        .image_width = (uint32_t)width,
        .image_height = (uint32_t)height,
        .iterations = (uint32_t)iterations,
    };
}

static struct {
    char name[256];
    unsigned tiles;
} workers[MOST_WORKERS];

static void
count_worker(const char *name)
{
    unsigned i = 0;

    while (i < MOST_WORKERS - 1 && workers[i].tiles > 0 && strcmp(workers[i].name, name) != 0)
        i++;
    snprintf(workers[i].name, sizeof(workers[i].name), "%s", name);
    workers[i].tiles++;
}

/* Returns how many tiles failed: they stay black. */
static unsigned
collect(results_t *results, uint8_t *image)
{
    unsigned failed = 0;
    const uint8_t *pixels;

    while ((pixels = results_next(results, NULL)) != NULL || !results_at_end(results)) {
        struct tile t = tile_at(results_index(results));

        count_worker(results_worker(results));
        if (pixels == NULL) {
            fprintf(stderr, "mandelbrot: %s\n", results_error(results));
            failed++;
            continue;
        }
        for (unsigned row = 0; row < t.height; row++)
            memcpy(image + 3 * ((t.top + row) * width + t.left), pixels + (size_t)3 * row * t.width,
                   (size_t)3 * t.width);
    }
    return failed;
}

static double
seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int
draw(futures_t *futures, struct tile *tiles, size_t count, uint8_t *image)
{
    double start = seconds();
    results_t *results;
    unsigned failed;

    for (size_t i = 0; i < count; i++)
        tiles[i] = tile_at(i);
    results = futures_map(futures, "render", tiles, count, sizeof(*tiles),
                          &(task_options_t){.name = "tiles", .as_completed = true});
    if (results == NULL) {
        fprintf(stderr, "mandelbrot: %s\n", futures_error());
        return 1;
    }
    results_show_progress(results, stderr);
    failed = collect(results, image);
    results_destroy(&results);
    printf("%zu tiles in %.2f s on %d slots of %d workers\n", count, seconds() - start,
           futures_slots(futures), futures_workers(futures));
    for (unsigned i = 0; where && i < MOST_WORKERS && workers[i].tiles > 0; i++)
        printf("%8u tiles by %s\n", workers[i].tiles, workers[i].name);
    return failed == 0 ? 0 : 1;
}

static int
write_png(const uint8_t *image)
{
    png_image png = {
        .version = PNG_IMAGE_VERSION,
        .width = (uint32_t)width,
        .height = (uint32_t)height,
        .format = PNG_FORMAT_RGB,
    };

    if (png_image_write_to_file(&png, file, 0, image, 0, NULL))
        return 0;
    fprintf(stderr, "mandelbrot: cannot write %s: %s\n", file, png.message);
    return 1;
}

int
main(int argc, char **argv)
{
    size_t count;
    char endpoint[32];
    futures_t *futures;
    struct tile *tiles;
    uint8_t *image;
    int status;

    if (options_parse(&command, argc, argv) < argc)
        options_fail(&command, "there are no arguments beside the options");
    snprintf(endpoint, sizeof(endpoint), "local:%" PRIu64, slots);
    if ((futures = futures_new(slots > 0 ? endpoint : NULL)) == NULL) {
        fprintf(stderr, "mandelbrot: %s\n", futures_error());
        return 1;
    }
    count = ((width + tile_size - 1) / tile_size) * ((height + tile_size - 1) / tile_size);
    tiles = calloc(count, sizeof(*tiles));
    image = calloc(3 * width, height);
    if (tiles == NULL || image == NULL) {
        perror("mandelbrot");
        return 1;
    }
    status = draw(futures, tiles, count, image);
    status |= write_png(image);
    free(image);
    free(tiles);
    futures_destroy(&futures);
    return status;
}
