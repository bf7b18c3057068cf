// stream.cpp - frames from a camera, objects on the terminal.
//
//     ./stream models/covey-nano.gguf 40                       a made-up scene
//     ffmpeg ... -pix_fmt yuv420p -f yuv4mpegpipe - | ./stream models/covey-nano.gguf 40 -
//
// Says what memory the recording will need, takes at most that many frames,
// and lists the objects of each: id, box, area, confidence.  Ctrl-C ends the
// computation in progress, whatever it is, within a moment.
//
// From the top of the repository, after `make lib`:
//
//     c++ -std=c++17 Examples/stream.cpp -IInclude -Lbuild -lcovey -pthread -Wl,-rpath,$PWD/build -o stream

#include <covey.hpp>

#include <chrono>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <unistd.h>

// ---- Cameras ----------------------------------------------------------------

class Camera {
public:
    virtual ~Camera() {}
    virtual int width() const = 0;
    virtual int height() const = 0;
    // False where there are no more.  The pixels live until the next call.
    virtual bool read(covey_frame &frame) = 0;
};

// A red disc and a blue square on their way over a gray-green texture.
class SceneCamera : public Camera {
public:
    SceneCamera() : pixels_(3 * WIDTH * HEIGHT) {}
    int width() const override { return WIDTH; }
    int height() const override { return HEIGHT; }

    bool read(covey_frame &frame) override
    {
        for (int y = 0; y < HEIGHT; y++)
            for (int x = 0; x < WIDTH; x++) paint(x, y, &pixels_[3 * size_t(y * WIDTH + x)]);
        time_++;
        frame.format = COVEY_PIXEL_RGB8;
        frame.planes[0] = pixels_.data();
        return true;
    }

private:
    enum { WIDTH = 480, HEIGHT = 320 };

    void paint(int x, int y, uint8_t *rgb) const
    {
        const int disc_x = 90 + 6 * time_ % 300, disc_y = 110;
        const int square_x = 380 - 5 * time_ % 300, square_y = 200;
        const int dx = x - disc_x, dy = y - disc_y;
        const int grain = (x * 7 + y * 13 + (x * y) % 11) % 24;
        if (x >= square_x && x < square_x + 80 && y >= square_y && y < square_y + 80)
            set(rgb, 30, 50, 190 + grain);
        else if (dx * dx + dy * dy < 55 * 55)
            set(rgb, 200 + grain, 40, 30);
        else
            set(rgb, 90 + grain, 120 + grain, 85 + grain);
    }

    static void set(uint8_t *rgb, int red, int green, int blue)
    {
        rgb[0] = static_cast<uint8_t>(red);
        rgb[1] = static_cast<uint8_t>(green);
        rgb[2] = static_cast<uint8_t>(blue);
    }

    std::vector<uint8_t> pixels_;
    int time_ = 0;
};

// YUV4MPEG2 on standard input, 8-bit 4:2:0.
class PipeCamera : public Camera {
public:
    PipeCamera()
    {
        std::istringstream header(line());
        std::string field, colour = "C420";
        header >> field;
        const bool is_y4m = field == "YUV4MPEG2";
        while (header >> field) {
            if (field[0] == 'W') width_ = std::atoi(field.c_str() + 1);
            if (field[0] == 'H') height_ = std::atoi(field.c_str() + 1);
            if (field[0] == 'C') colour = field;
        }
        const bool is_420 = colour == "C420" || colour == "C420jpeg" || colour == "C420mpeg2" ||
                            colour == "C420paldv";
        if (!is_y4m || !is_420 || width_ < 1 || width_ > 32768 || height_ < 1 || height_ > 32768)
            throw std::runtime_error("standard input is not 4:2:0 YUV4MPEG2; make it with "
                                     "ffmpeg -i VIDEO -pix_fmt yuv420p -f yuv4mpegpipe -");
        luma_ = size_t(width_) * size_t(height_);
        chroma_ = size_t((width_ + 1) / 2) * size_t((height_ + 1) / 2);
        pixels_.resize(luma_ + 2 * chroma_);
    }
    int width() const override { return width_; }
    int height() const override { return height_; }

    bool read(covey_frame &frame) override
    {
        if (line().compare(0, 5, "FRAME") != 0) return false;
        if (std::fread(pixels_.data(), 1, pixels_.size(), stdin) != pixels_.size())
            throw std::runtime_error("standard input ends in the middle of a frame");
        frame.format = COVEY_PIXEL_I420;
        frame.planes[0] = pixels_.data();
        frame.planes[1] = pixels_.data() + luma_;
        frame.planes[2] = pixels_.data() + luma_ + chroma_;
        return true;
    }

private:
    static std::string line()
    {
        std::string text;
        for (int byte; text.size() < 1024 && (byte = std::getchar()) != EOF && byte != '\n';)
            text.push_back(static_cast<char>(byte));
        return text;
    }

    int width_ = 0, height_ = 0;
    size_t luma_ = 0, chroma_ = 0;
    std::vector<uint8_t> pixels_;
};

// ---- Ctrl-C -----------------------------------------------------------------

// covey_session_cancel() may be called from any thread, but hardly anything may
// be called from a signal handler.  So the handler writes a byte to a pipe, and
// a thread at its other end cancels.
class CancelOnInterrupt {
public:
    explicit CancelOnInterrupt(covey_session *session) : session_(session)
    {
        if (pipe(pipe_) != 0) throw std::runtime_error("no pipe can be made");
        thread_ = std::thread([this] { wait(); });
        struct sigaction action;
        std::memset(&action, 0, sizeof action);
        action.sa_handler = on_interrupt;
        action.sa_flags = SA_RESTART;
        sigaction(SIGINT, &action, &before_);
    }
    ~CancelOnInterrupt()
    {
        sigaction(SIGINT, &before_, nullptr);
        send('q');
        thread_.join();
        close(pipe_[0]);
        close(pipe_[1]);
    }
    CancelOnInterrupt(const CancelOnInterrupt &) = delete;
    CancelOnInterrupt &operator=(const CancelOnInterrupt &) = delete;

private:
    static void on_interrupt(int)
    {
        const int saved = errno;
        send('c');
        errno = saved;
    }

    static void send(char byte)
    {
        if (write(pipe_[1], &byte, 1) != 1) return;     // nothing to be done about it
    }

    void wait()
    {
        char byte;
        while (read(pipe_[0], &byte, 1) == 1 && byte == 'c') covey_session_cancel(session_);
    }

    static int pipe_[2];    // of the process, like the handler
    covey_session *session_;
    struct sigaction before_;
    std::thread thread_;
};

int CancelOnInterrupt::pipe_[2];

// ---- The whole --------------------------------------------------------------

static double mebibytes(int64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }

static void show_estimate(const covey::Model &model, const Camera &camera, int frames)
{
    const covey_memory memory = model.estimate(camera.width(), camera.height(), frames);
    std::printf("%d frames of %dx%d: at most %.1f MiB (features %.1f, workspace %.1f), "
                "and %.1f MiB of weights\n",
                frames, camera.width(), camera.height(), mebibytes(memory.peak),
                mebibytes(memory.features), mebibytes(memory.workspace), mebibytes(memory.weights));
}

static void record(covey::Session &session, Camera &camera, int frames)
{
    using Clock = std::chrono::steady_clock;
    const Clock::time_point start = Clock::now();
    int taken = 0;
    for (; taken < frames; taken++) {
        covey_frame frame = covey::sized<covey_frame>();
        frame.width = camera.width();
        frame.height = camera.height();
        if (!camera.read(frame)) break;
        frame.timestamp =
            std::chrono::duration_cast<std::chrono::microseconds>(Clock::now() - start).count();
        session.push(frame);
    }
    const std::chrono::duration<double> elapsed = Clock::now() - start;
    std::printf("%d frames taken, %.1f a second\n", taken, taken / elapsed.count());
}

static void show_objects(const covey::Result &result)
{
    const covey_result_info info = result.info();
    std::printf("frame %lld, %.3f s, %d of %d objects\n", static_cast<long long>(info.frame_index),
                static_cast<double>(info.timestamp) / 1e6, info.object_count, info.total_objects);
    for (const covey_object &object : result.objects())
        std::printf("  %3d  %dx%d at %d,%d  %lld pixels  confidence %.2f%s\n", object.id,
                    object.width, object.height, object.x, object.y,
                    static_cast<long long>(object.area), static_cast<double>(object.confidence),
                    object.first_frame == info.frame_index ? "  new" : "");
}

static void run(const char *model_path, int frames, bool from_pipe)
{
    const covey::Model model(model_path);
    const std::unique_ptr<Camera> camera(from_pipe ? static_cast<Camera *>(new PipeCamera)
                                                   : new SceneCamera);
    show_estimate(model, *camera, frames);

    covey::Session session(model);
    const CancelOnInterrupt cancel(session.get());
    record(session, *camera, frames);
    session.finish();
    for (const covey::Result &result : session.results()) show_objects(result);
    std::printf("%.1f MiB were used at the most\n", mebibytes(session.memory().peak));
}

int main(int argc, char **argv)
{
    const bool from_pipe = argc == 4 && std::strcmp(argv[3], "-") == 0;
    const int frames = argc >= 3 ? std::atoi(argv[2]) : 0;
    if (frames < 1 || argc > 4 || (argc == 4 && !from_pipe)) {
        std::fputs("usage: stream MODEL FRAMES [-]\n"
                   "  -  reads YUV4MPEG2 from standard input instead of making up a scene\n",
                   stderr);
        return 2;
    }
    try {
        run(argv[1], frames, from_pipe);
    } catch (const covey::Error &error) {
        std::fprintf(stderr, "stream: %s\n", error.what());
        return error.status() == COVEY_ERROR_CANCELLED ? 128 + SIGINT : EXIT_FAILURE;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "stream: %s\n", error.what());
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
