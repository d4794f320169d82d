// resample.cpp - Ladle from C++: how sure is a median? By drawing samples anew, many times.
//
// The calls are those of C. What C++ adds: task functions may use containers, algorithms and
// exceptions, as long as no exception leaves them; a lambda without captures is a callback, and
// what it works on comes by its last argument; unique_ptr cleans up.
#include <ladle.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <vector>

namespace
{

constexpr int rounds = 400;

// The numbers of a task, for what the standard library wants of a generator.
struct numbers {
    using result_type = std::uint64_t;

    task_t *task;

    static constexpr result_type
    min()
    {
        return 0;
    }
    static constexpr result_type
    max()
    {
        return UINT64_MAX;
    }
    result_type
    operator()() const
    {
        return task_random(task);
    }
};

double
median(std::vector<double> values)
{
    if (values.empty())
        throw std::invalid_argument("nothing has no median");
    auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

double
median_of_another_sample(task_t *task)
{
    const auto *data = static_cast<const double *>(task_input(task));
    const std::vector<double> values(data, data + task_input_size(task) / sizeof(double));
    std::vector<double> sample;
    numbers random{task};

    for (std::size_t i = 0; i < values.size(); i++)
        sample.push_back(values.at(random() % values.size()));
    return median(sample);
}

// An exception must not leave a task function: below it there is C.
int
resample(task_t *task)
{
    try {
        const double found = median_of_another_sample(task);

        return task_return(task, &found, sizeof(found));
    } catch (const std::exception &problem) {
        return task_fail(task, "%s", problem.what());
    }
}
TASK(resample)

struct tally {
    std::vector<double> medians;
    int failed = 0;
};

int
run(futures_t *futures, const std::vector<double> &values)
{
    auto options = task_options_t();
    tally all;

    options.seed = 1;
    for (int i = 0; i < rounds; i++) {
        future_t *future = futures_submit(futures, "resample", values.data(),
                                          values.size() * sizeof(double), &options);

        if (future == nullptr)
            throw std::runtime_error(futures_error());
        future_on_done(
            future,
            [](future_t *ended, void *arg) {
                auto *to = static_cast<tally *>(arg);

                if (const void *result = future_result(ended, nullptr))
                    to->medians.push_back(*static_cast<const double *>(result));
                else if (to->failed++ == 0)
                    std::fprintf(stderr, "resample: %s\n", future_error(ended));
                future_destroy(&ended);
            },
            &all);
    }
    futures_join(futures, -1);
    if (all.failed > 0)
        return 1;
    std::sort(all.medians.begin(), all.medians.end());
    std::printf("the median is %.2f, in 95 of 100 samples from %.2f to %.2f\n", median(values),
                all.medians.at(rounds / 40), all.medians.at(rounds - rounds / 40));
    return 0;
}

} // namespace

int
main(int argc, char **)
{
    struct destroy {
        void
        operator()(futures_t *session) const
        {
            futures_destroy(&session);
        }
    };
    std::unique_ptr<futures_t, destroy> futures(futures_new(nullptr));
    std::vector<double> values;

    if (!futures) {
        std::fprintf(stderr, "resample: %s\n", futures_error());
        return 1;
    }
    for (int i = 1; i <= 1000 && argc == 1; i++) // with any argument: no values
        values.push_back(1000.0 / i);
    try {
        return run(futures.get(), values);
    } catch (const std::exception &problem) {
        std::fprintf(stderr, "resample: %s\n", problem.what());
        return 1;
    }
}
