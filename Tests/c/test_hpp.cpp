// covey.hpp: what it hands out is what covey.h hands out, and what fails throws.
//
//     test_hpp WEIGHTS
#include <covey.hpp>
#include <covey.hpp>

#include <cstdio>
#include <cstdlib>
#include <type_traits>

static int checks;

static void expect(bool holds, const char *what)
{
    checks++;
    if (holds) return;
    std::fprintf(stderr, "covey.hpp: %s\n", what);
    std::exit(1);
}

template <typename Body> static void fails(covey_status status, const char *what, Body body)
{
    try {
        body();
    } catch (const covey::Error &error) {
        expect(error.status() == status && *error.what(), what);
        return;
    }
    expect(false, what);
}

// Handles move, and do not copy.
template <typename Handle> constexpr bool moves =
    std::is_nothrow_move_constructible_v<Handle> && std::is_nothrow_move_assignable_v<Handle> &&
    !std::is_copy_constructible_v<Handle> && !std::is_copy_assignable_v<Handle>;
static_assert(moves<covey::Model> && moves<covey::Session> && moves<covey::Result>);

enum { WIDTH = 96, HEIGHT = 64, FRAMES = 6 };
using Pixels = std::vector<std::uint8_t>;

// A square on its way over a texture.
static Pixels picture(int time)
{
    Pixels pixels(3 * WIDTH * HEIGHT);
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++) {
            const int left = 16 + 6 * time;
            const bool inside = x >= left && x < left + 24 && y >= 20 && y < 44;
            for (int c = 0; c < 3; c++)
                pixels[std::size_t(3 * (y * WIDTH + x) + c)] =
                    static_cast<std::uint8_t>(inside ? (c == 0 ? 220 : 30)
                                                     : 90 + (x * 7 + y * 13 + c * 5) % 40);
        }
    return pixels;
}

static void check_result(const covey::Result &result)
{
    const covey_result_info info = result.info();
    const auto labels = result.labels();
    expect(labels.rows == HEIGHT && labels.columns == WIDTH, "size of labels");
    expect(labels.data() == covey_result_labels(result.get()), "labels");
    expect(labels.size() == std::size_t(WIDTH) * HEIGHT, "count of labels");
    expect(&labels.at(3, 5) == labels.data() + 3 * WIDTH + 5, "place of a label");

    const auto objects = result.objects();
    expect(objects.size() == std::size_t(info.object_count), "count of objects");
    std::int64_t area = 0, shown = 0;
    for (const covey_object &object : objects) area += object.area;
    for (const std::uint16_t id : labels) shown += id != 0;
    expect(area == shown, "area of objects");
    for (const covey_object &object : objects) {
        const auto runs = result.run_lengths(object.id);
        std::int64_t sum = 0;
        for (std::size_t i = 1; i < runs.size(); i += 2) sum += runs[i];
        expect(sum == object.area, "run lengths");
        // Exact outlines: twice the area by the shoelace formula, holes being negative.
        double twice = 0;
        for (const auto &ring : result.outlines(object.id, 0))
            for (std::size_t i = 0; i < ring.size(); i++) {
                const auto a = ring[i], b = ring[(i + 1) % ring.size()];
                twice += double(a.x) * double(b.y) - double(b.x) * double(a.y);
            }
        expect(twice == 2.0 * double(object.area), "outlines");
    }
    const auto motion = result.motion();
    const auto confidence = result.confidence();
    expect(motion.rows == confidence.rows && motion.size() == 2 * confidence.size(), "motion");
}

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    fails(COVEY_ERROR_IO, "a model that is absent", [] { covey::Model model("/absent"); });
    fails(COVEY_ERROR_FORMAT, "bytes that are none", [] { covey::Model model("abcd", 4); });

    covey::Model loaded(argv[1]);
    covey::Model model(std::move(loaded));
    expect(model && !loaded, "a model moved");
    expect(model.info().embed_dim > 0 && !model.metadata().empty(), "info of a model");
    expect(model.estimate(WIDTH, HEIGHT, FRAMES).peak > 0, "an estimate");

    covey_session_options options = covey::sized<covey_session_options>();
    options.working_height = HEIGHT;
    options.working_width = WIDTH;
    options.output = COVEY_OUTPUT_CLUSTERS;
    covey::Session session(model, options);
    model = covey::Model(argv[1]);      // the session keeps its own
    fails(COVEY_ERROR_STATE, "finish without a frame", [&] { session.finish(); });
    expect(session.try_finish() == COVEY_ERROR_STATE, "try_finish");
    for (int time = 0; time < FRAMES; time++) {
        const Pixels pixels = picture(time);
        session.push(covey::rgb(pixels.data(), WIDTH, HEIGHT, 0, 40 * time));
    }
    covey_frame wrong = covey::rgb(nullptr, WIDTH, HEIGHT);
    expect(session.try_push(wrong) == COVEY_ERROR_ARGUMENT, "try_push");
    expect(!session.next(), "no result before finish");
    session.finish();
    std::vector<covey::Result> kept;
    for (covey::Result &result : session.results()) {
        expect(result.info().timestamp == std::int64_t(40 * kept.size()), "a timestamp");
        kept.push_back(std::move(result));
    }
    expect(kept.size() == FRAMES && !session.next(), "every result once");
    session.recut(0, 2);
    int again = 0;
    for (const covey::Result &result : session.results()) again += result.info().width == WIDTH;
    expect(again == FRAMES, "results of another cut");
    expect(session.memory().peak > 0, "memory");
    session = covey::Session(model);    // results outlive theirs
    for (const covey::Result &result : kept) check_result(result);

    // NV12 and strides: as the library sees them from C.
    const Pixels luma(128 * HEIGHT, 100), chroma(128 * HEIGHT / 2, 128);
    session.push(covey::nv12(luma.data(), chroma.data(), WIDTH, HEIGHT, 128, 128));
    session.reset();
    fails(COVEY_ERROR_STATE, "finish after reset", [&] { session.finish(); });
    std::printf("covey.hpp: %d checks passed\n", checks);
    return 0;
}
