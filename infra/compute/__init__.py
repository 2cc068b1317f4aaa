"""Ray and the devices that compute."""
