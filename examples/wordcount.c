/* wordcount.c - the most frequent words of some files: a lazy map, and a merge of its results.
 *
 * The client reads the files and ships them in chunks, so workers need no access to them.
 * futures_imap() asks for the next chunk when there is room for it: files of any size pass through
 * bounded memory.
 */
#include "options.h"

#include <ladle.h>
#include <uthash.h>

#define CHUNK (256 << 10) /* bytes in a task */
#define LONGEST 4096      /* a longer word at the end of a chunk is cut */

static uint64_t top = 10;
static char **files; /* ends with NULL, as argv does */

static const struct option_row option_rows[] = {
    {'t', "top", "N", "Print the N most frequent words (default 10)", .number = &top, 1, 1 << 30},
    {0},
};
static const struct command command = {
    "wordcount", "FILE...",
    "Print the most frequent words of all files together; '-' is standard input.", option_rows};

struct word {
    UT_hash_handle hh;
    unsigned long count;
    char text[];
};

static bool
is_letter(int c) /* of ASCII or any longer UTF-8 sequence */
{
    return isalpha(c) || c >= 0x80;
}

static int
count(struct word **words, const char *text, size_t size, unsigned long times)
{
    struct word *w;

    HASH_FIND(hh, *words, text, size, w);
    if (w == NULL) {
        if ((w = calloc(1, sizeof(*w) + size + 1)) == NULL)
            return -1;
        memcpy(w->text, text, size);
        HASH_ADD_KEYPTR(hh, *words, w->text, size, w);
    }
    w->count += times;
    return 0;
}

static void
forget(struct word **words)
{
    struct word *w, *next;

    HASH_ITER (hh, *words, w, next) {
        HASH_DEL(*words, w);
        free(w);
    }
}

/* ---- the task: text in, lines of "COUNT WORD" out -------------------------------------------- */

static int
count_words(task_t *task)
{
    const unsigned char *at = task_input(task), *end = at + task_input_size(task);
    struct word *words = NULL, *w, *next;
    char word[LONGEST + CHUNK];
    char *lines = NULL;
    size_t size = 0;
    FILE *out;
    int rc;

    while (at < end) {
        size_t length = 0;

        while (at < end && !is_letter(*at))
            at++;
        while (at < end && is_letter(*at))
            word[length++] = (char)tolower(*at++);
        if (length > 0 && count(&words, word, length, 1) != 0)
            return task_fail(task, "out of memory");
    }
    if ((out = open_memstream(&lines, &size)) == NULL)
        return task_fail(task, "out of memory");
    HASH_ITER (hh, words, w, next)
        fprintf(out, "%lu %s\n", w->count, w->text);
    forget(&words);
    rc = fclose(out) != 0 ? task_fail(task, "out of memory") : task_return(task, lines, size);
    free(lines);
    return rc;
}
TASK(count_words)

/* ---- the client: chunks in ------------------------------------------------------------------- */

struct reader {
    FILE *stream; /* of *files */
    bool failed;
    char chunk[CHUNK + LONGEST];
};

static void
complain(struct reader *r, const char *what)
{
    fprintf(stderr, "wordcount: cannot %s %s: %s\n", what, *files, strerror(errno));
    r->failed = true;
}

/* The next bytes of the file at hand, up to the end of a word; 0 at its end. */
static size_t
read_chunk(struct reader *r)
{
    size_t size = fread(r->chunk, 1, CHUNK, r->stream);
    int c = size == CHUNK ? getc(r->stream) : EOF;

    for (; c != EOF; c = getc(r->stream)) {
        r->chunk[size++] = (char)c;
        if (!is_letter(c) || size == sizeof(r->chunk))
            break;
    }
    return size;
}

static int
next_chunk(void *arg, const void **input_p, size_t *size_p)
{
    struct reader *r = arg;

    for (; *files != NULL; files++) {
        if (r->stream == NULL)
            r->stream = strcmp(*files, "-") == 0 ? stdin : fopen(*files, "r");
        if (r->stream == NULL) {
            complain(r, "open");
            continue;
        }
        *input_p = r->chunk;
        if ((*size_p = read_chunk(r)) > 0)
            return 0;
        if (ferror(r->stream))
            complain(r, "read");
        fclose(r->stream);
        r->stream = NULL;
    }
    return -1;
}

/* ---- the client: counts out ------------------------------------------------------------------ */

static int
merge(struct word **words, const char *lines, size_t size)
{
    const char *end = lines + size;

    while (lines < end) {
        const char *newline = memchr(lines, '\n', (size_t)(end - lines));
        char *word;
        unsigned long times = strtoul(lines, &word, 10);

        if (count(words, word + 1, (size_t)(newline - word - 1), times) != 0)
            return -1;
        lines = newline + 1;
    }
    return 0;
}

static int
by_count(const struct word *a, const struct word *b)
{
    if (a->count != b->count)
        return a->count > b->count ? -1 : 1;
    return strcmp(a->text, b->text);
}

static int
run(futures_t *futures)
{
    static struct reader reader;
    struct word *words = NULL, *w, *next;
    unsigned shown = 0;
    const char *lines;
    size_t size;
    int status = 0;
    results_t *results = futures_imap(futures, "count_words", next_chunk, &reader,
                                      &(task_options_t){.as_completed = true});

    if (results == NULL) {
        fprintf(stderr, "wordcount: %s\n", futures_error());
        return 1;
    }
    while ((lines = results_next(results, &size)) != NULL || !results_at_end(results)) {
        if (lines == NULL)
            fprintf(stderr, "wordcount: %s\n", results_error(results));
        else if (merge(&words, lines, size) != 0)
            perror("wordcount");
        else
            continue;
        status = 1; /* a chunk is missing from the counts */
    }
    results_destroy(&results);
    HASH_SORT(words, by_count);
    HASH_ITER (hh, words, w, next)
        if (shown++ < top)
            printf("%7lu %s\n", w->count, w->text);
    forget(&words);
    return reader.failed ? 1 : status;
}

int
main(int argc, char **argv)
{
    int argument = options_parse(&command, argc, argv), status;
    futures_t *futures;

    if (argument == argc)
        options_fail(&command, "which files?");
    files = argv + argument;
    if ((futures = futures_new(NULL)) == NULL) {
        fprintf(stderr, "wordcount: %s\n", futures_error());
        return 1;
    }
    status = run(futures);
    futures_destroy(&futures);
    return status;
}
