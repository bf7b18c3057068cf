// objects.cpp - the objects of a film as it is read, in C++17.
//
//     ffmpeg -i video.mp4 -vf scale=640:360 -pix_fmt rgb24 -f rawvideo - | ./objects models/covey-nano.gguf 640 360
//
// From the top of the repository, after `make lib`:
//
//     c++ -std=c++17 Examples/objects.cpp -IInclude -Lbuild -lcovey -Wl,-rpath,$PWD/build -o objects

#include <covey.hpp>

#include <cstdlib>
#include <iostream>

int main(int argc, char **argv)
try {
    if (argc != 4) return std::cerr << "usage: objects MODEL WIDTH HEIGHT\n", 2;
    const int width = std::atoi(argv[2]), height = std::atoi(argv[3]);
    if (width < 1 || width > 32768 || height < 1 || height > 32768)
        return std::cerr << "objects: expected a width and height of 1 to 32768\n", 2;

    covey_session_options options = covey::sized<covey_session_options>();
    options.streaming = 1;
    covey::Session session(covey::Model(argv[1]), options);

    const auto show = [&] {
        for (const covey::Result &result : session.results()) {
            const auto frame = result.info().frame_index;
            for (const covey_object &thing : result.objects())
                std::cout << frame << ": " << thing.id << " at " << thing.x << ',' << thing.y
                          << ", " << thing.width << 'x' << thing.height << '\n';
        }
    };
    std::vector<char> pixels(3 * std::size_t(width) * std::size_t(height));
    while (std::cin.read(pixels.data(), static_cast<std::streamsize>(pixels.size()))) {
        session.push(covey::rgb(reinterpret_cast<std::uint8_t *>(pixels.data()), width, height));
        show();
    }
    session.finish();
    show();
} catch (const covey::Error &error) {
    return std::cerr << "objects: " << error.what() << '\n', 1;
}
