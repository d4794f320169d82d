/* picture.c - what is on a PNG? Prints "WIDTH HEIGHT, black N %, colours N, sum N". */
#include <inttypes.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>

#define RGB (1u << 24)

int
main(int argc, char **argv)
{
    png_image image = {.version = PNG_IMAGE_VERSION};
    uint64_t sum = UINT64_C(0xcbf29ce484222325); /* FNV-1a of the pixels */
    unsigned pixels, black = 0, colours = 0;
    uint8_t *data, *seen;

    if (argc != 2 || !png_image_begin_read_from_file(&image, argv[1])) {
        fprintf(stderr, "picture: %s\n", argc != 2 ? "which file?" : image.message);
        return 1;
    }
    image.format = PNG_FORMAT_RGB;
    data = malloc(PNG_IMAGE_SIZE(image));
    seen = calloc(RGB, 1);
    if (data == NULL || seen == NULL || !png_image_finish_read(&image, NULL, data, 0, NULL)) {
        fprintf(stderr, "picture: cannot read %s: %s\n", argv[1], image.message);
        return 1;
    }
    pixels = image.width * image.height;
    for (const uint8_t *p = data; p < data + (size_t)3 * pixels; p += 3) {
        unsigned colour = (unsigned)p[0] << 16 | (unsigned)p[1] << 8 | p[2];

        black += colour == 0;
        colours += !seen[colour];
        seen[colour] = 1;
        for (int i = 0; i < 3; i++)
            sum = (sum ^ p[i]) * UINT64_C(0x100000001b3);
    }
    printf("%u %u, black %u %%, colours %u, sum %016" PRIx64 "\n", image.width, image.height,
           100 * black / pixels, colours, sum);
    free(seen);
    free(data);
    return 0;
}
